"""Images that a machine can make without a registry.

A template (postgres, redis, minio, web) is run from its official image wherever that can be had. Where no
registry answers, the same service is built from the distribution's own packages: `archives` fetches them,
`layer` puts their files into one tar without running any of their scripts, `build` lets the Engine make an
image of it, and `ensure` decides which of the ways is taken. Built images are called
`lattice.local/<template>:<real version>`, never by an official name.
"""
