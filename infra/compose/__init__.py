"""The platform as containers of one image (`compose.yaml`): what has to happen inside them besides running a part.

A one-shot container makes keys, passwords and configuration in named volumes, another one keeps certificates and tickets young, a third makes
the databases.  All of it is done by the code of `standalone`; here is only who does it, where, and with which rights.
"""
