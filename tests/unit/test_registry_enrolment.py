"""From a machine that asks to a node with credentials, and every way it is refused; time is moved by hand."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from cryptography import x509

from lattice import identity, nkey, pki
from lattice.contracts.catalogue import RENEW_NODE
from lattice.contracts.messages import GetByName, ListNodes, UpdateNode
from lattice.contracts.nouns import Inventory, Liveness, Membership, NodeState, OwnerPolicy
from lattice.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    LatticeError,
    NotFound,
    StaleVersion,
    Unauthenticated,
)
from lattice.testing import ManualClock
from services.registry.enrolment import LAPSED_REASON, get_enrolment, register_node, renew_node
from services.registry.enrolment_rules import Act, Standing, rule
from services.registry.node_deps import NodeSettings
from services.registry.nodes import (
    approve_node,
    cordon_node,
    get_node,
    list_nodes,
    reject_node,
    remove_node,
    revoke_node,
    uncordon_node,
    update_node,
)
from services.registry.tables import (
    AuditRow,
    FactRow,
    InstanceRow,
    NodePresenceRow,
    NodeRow,
    SealedCopyRow,
    SecretRow,
)
from tests.fixtures.machines import (
    ADMIN,
    Authorities,
    Machine,
    NodeRegistry,
    command,
    make_node_registry,
    new_authorities,
)

DAY_S = 86_400


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return new_authorities(ManualClock().now())


@pytest.fixture
def registry(authorities: Authorities) -> NodeRegistry:
    return make_node_registry(authorities)


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def row_of(registry: NodeRegistry, node_id: str) -> NodeRow:
    async with registry.store.transaction() as tx:
        row = await tx.get(NodeRow, node_id)
    assert row is not None
    return row


async def verbs(registry: NodeRegistry) -> list[str]:
    async with registry.store.transaction() as tx:
        return [f"{row.entity}.{row.verb}" for row in await tx.find(FactRow) if row.entity != "join_token"]


async def actions(registry: NodeRegistry) -> list[tuple[str, str]]:
    async with registry.store.transaction() as tx:
        return [(row.actor, row.action) for row in await tx.find(AuditRow) if row.entity == "node"]


async def approved(registry: NodeRegistry, machine: Machine) -> str:
    """A node with credentials."""
    node_id = (await registry.register(machine)).node_id
    await approve_node(registry.deps, command(node_id))
    await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    return node_id


# --- asking ------------------------------------------------------------------------------------------------


async def test_a_machine_that_asks_is_pending_and_has_no_power(
    registry: NodeRegistry, machine: Machine
) -> None:
    answer = await registry.register(machine, pool="edge", labels={"zone": "home"})
    view = await get_node(registry.deps, GetByName(ref="rack-1"))
    assert (view.id, view.state, view.pool, view.labels) == (
        answer.node_id,
        NodeState.PENDING,
        "edge",
        {"zone": "home"},
    )
    assert (
        view.fingerprint
        == answer.fingerprint
        == pki.enrolment_fingerprint(
            machine.csr_pem.encode(), nkey=machine.user.public, sealing_key=machine.sealing.public
        )
    )
    enrolment = await get_enrolment(registry.deps, machine.looks(answer.node_id, registry.clock.now()))
    assert (enrolment.state, enrolment.credentials) == ("pending", None)
    assert "approve" in enrolment.reason
    assert await verbs(registry) == ["node.registered"]
    assert await actions(registry) == [("machine:rack-1", "node.register")]


async def test_unusable_keys_are_refused_and_nothing_is_kept(
    registry: NodeRegistry, machine: Machine
) -> None:
    good = machine.asks(await registry.token())
    for broken in (
        {"csr_pem": ""},
        {"csr_pem": good.csr_pem.replace("A", "B", 3)},
        {"nkey": nkey.new_key(nkey.ACCOUNT).public},
        {"nkey": "U"},
        {"sealing_key": "AAAA"},
        {"sealing_key": "not base64"},
    ):
        with pytest.raises(Invalid):
            await register_node(registry.deps, good.model_copy(update=broken))
    async with registry.store.transaction() as tx:
        assert await tx.count(NodeRow) == 0


async def test_the_same_machine_joining_again_is_told_what_to_do(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = (await registry.register(machine)).node_id
    reinstalled = Machine()
    with pytest.raises(Conflict, match=rf"rack-1 \({node_id}, pending\).*lattice node rm rack-1.*--name"):
        await registry.register(reinstalled)
    await remove_node(registry.deps, command("rack-1"))
    assert (await registry.register(reinstalled)).node_id != node_id


async def test_a_copied_disk_cannot_join_under_another_name(registry: NodeRegistry, machine: Machine) -> None:
    await registry.register(machine)
    copy = Machine("rack-2", machine.key, machine.user, machine.sealing)
    with pytest.raises(Conflict, match=r"belong to the node rack-1 already.*copied"):
        await registry.register(copy)


async def test_a_token_of_the_platforms_own_agent_approves_at_once(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = (await registry.register(machine, auto_approve=True)).node_id
    enrolment = await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    assert enrolment.credentials is not None
    assert await verbs(registry) == ["node.registered", "node.approved", "node.credentials_issued"]


# --- credentials -------------------------------------------------------------------------------------------


async def test_an_approved_node_gets_what_it_needs_for_a_day(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = (await registry.register(machine)).node_id
    view = await approve_node(registry.deps, command("rack-1"))
    assert view.state is NodeState.JOINING
    now = registry.clock.now()
    credentials = (await get_enrolment(registry.deps, machine.looks(node_id, now))).credentials
    assert credentials is not None
    assert credentials.expires_at == now + timedelta(hours=24)
    leaf, issuing = x509.load_pem_x509_certificates(credentials.certificate_pem.encode())
    leaf.verify_directly_issued_by(issuing)
    assert pki.node_id_of(leaf) == node_id
    assert leaf.public_key() == machine.key.public_key()
    assert leaf.not_valid_after_utc == credentials.expires_at
    claims = identity.decode(credentials.jwt)
    assert (claims["name"], claims["sub"]) == (node_id, machine.user.public)
    assert claims["exp"] == int(credentials.expires_at.timestamp())
    shown = await get_node(registry.deps, GetByName(ref=node_id))
    assert shown.certificate_expires_at == credentials.expires_at


async def test_a_node_renews_with_another_key(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    registry.clock.advance(16 * 3600)
    machine.key = pki.new_private_key()
    credentials = (await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))).credentials
    assert credentials is not None
    leaf = x509.load_pem_x509_certificate(credentials.certificate_pem.encode())
    assert leaf.public_key() == machine.key.public_key()
    assert credentials.expires_at == registry.clock.now() + timedelta(hours=24)
    row = await row_of(registry, node_id)
    assert pki.read_request(row.csr_pem.encode()) == machine.key.public_key()


async def test_the_life_of_credentials_is_a_setting(authorities: Authorities, machine: Machine) -> None:
    registry = make_node_registry(authorities, settings=NodeSettings(credential_ttl_s=60))
    node_id = await approved(registry, machine)
    for _ in range(10):
        registry.clock.advance(40)
        credentials = (
            await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))
        ).credentials
        assert credentials is not None
        assert credentials.expires_at == registry.clock.now() + timedelta(seconds=60)


async def test_an_expired_node_renews_for_30_days_and_then_needs_the_admin(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    registry.clock.advance(31 * DAY_S)
    assert (await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))).credentials
    registry.clock.advance(31 * DAY_S + 1)
    for _ in range(3):
        with pytest.raises(Forbidden, match="approve it again") as refused:
            await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))
        assert refused.value.data == {"state": "lapsed"}
    enrolment = await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    assert (enrolment.state, enrolment.credentials) == ("lapsed", None)
    assert (await verbs(registry)).count("node.lapsed") == 1
    view = await approve_node(registry.deps, command(node_id))
    assert LAPSED_REASON not in view.reason
    assert (await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))).credentials


async def test_who_is_no_member_gets_no_new_credentials(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    await revoke_node(registry.deps, command(node_id, reason="stolen"))
    with pytest.raises(Forbidden, match="it is revoked; stolen"):
        await renew_node(registry.deps, machine.renews(node_id, registry.clock.now()))
    enrolment = await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    assert (enrolment.state, enrolment.reason, enrolment.credentials) == ("revoked", "stolen", None)
    other = Machine("rack-2")
    pending_id = (await registry.register(other)).node_id
    with pytest.raises(Forbidden, match="it is pending"):
        await renew_node(registry.deps, other.renews(pending_id, registry.clock.now()))
    await reject_node(registry.deps, command(pending_id, reason="unknown machine"))
    enrolment = await get_enrolment(registry.deps, other.looks(pending_id, registry.clock.now()))
    assert (enrolment.state, enrolment.reason) == ("rejected", "unknown machine")


async def test_a_renewal_with_an_unusable_request_changes_nothing(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    before = (await row_of(registry, node_id)).model_dump()
    now = registry.clock.now()
    broken = machine.renews(node_id, now).model_copy(
        update={"csr_pem": "nonsense", "proof": machine.proof(RENEW_NODE.name, node_id, now, b"nonsense")}
    )
    with pytest.raises(Invalid, match="certificate request"):
        await renew_node(registry.deps, broken)
    assert (await row_of(registry, node_id)).model_dump() == before


# --- proofs ------------------------------------------------------------------------------------------------


async def test_a_proof_counts_for_one_node_one_request_and_one_body(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id, other = await approved(registry, machine), Machine("rack-2")
    other_id = (await registry.register(other)).node_id
    now = registry.clock.now()
    looks, renews = machine.looks(node_id, now), machine.renews(node_id, now)
    stolen = [
        other.looks(node_id, now),
        looks.model_copy(update={"proof": looks.proof.model_copy(update={"node_id": other_id})}),
        looks.model_copy(update={"proof": renews.proof}),
        looks.model_copy(update={"proof": looks.proof.model_copy(update={"signature": "not base64!"})}),
        looks.model_copy(update={"proof": looks.proof.model_copy(update={"signature": ""})}),
        looks.model_copy(
            update={"proof": looks.proof.model_copy(update={"signed_at": now + timedelta(seconds=1)})}
        ),
    ]
    for request in stolen:
        with pytest.raises(Unauthenticated):
            await get_enrolment(registry.deps, request)
    with pytest.raises(Unauthenticated):
        await renew_node(registry.deps, renews.model_copy(update={"csr_pem": other.csr_pem}))


@pytest.mark.parametrize(("off_s", "says"), [(-301, "behind"), (301, "ahead of"), (86_400, "1440 min ahead")])
async def test_a_wrong_clock_is_named(
    registry: NodeRegistry, machine: Machine, off_s: float, says: str
) -> None:
    node_id = await approved(registry, machine)
    at = registry.clock.now() + timedelta(seconds=off_s)
    with pytest.raises(Unauthenticated, match=rf"node's clock is .*{says}.*set the clock"):
        await get_enrolment(registry.deps, machine.looks(node_id, at))


@pytest.mark.parametrize("off_s", [-299, 299])
async def test_five_minutes_are_tolerated(registry: NodeRegistry, machine: Machine, off_s: float) -> None:
    node_id = await approved(registry, machine)
    at = registry.clock.now() + timedelta(seconds=off_s)
    assert (await get_enrolment(registry.deps, machine.looks(node_id, at))).credentials


async def test_a_time_without_zone_is_refused(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    looks = machine.looks(node_id, registry.clock.now())
    naive = looks.proof.model_copy(update={"signed_at": registry.clock.now().replace(tzinfo=None)})
    with pytest.raises(Invalid, match="time zone"):
        await get_enrolment(registry.deps, looks.model_copy(update={"proof": naive}))


async def test_an_unknown_and_a_removed_node_are_told_apart(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    with pytest.raises(NotFound, match="join again"):
        await get_enrolment(registry.deps, machine.looks("nd-none", registry.clock.now()))
    await remove_node(registry.deps, command(node_id))
    with pytest.raises(Gone, match="was removed"):
        await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))


# --- commands ----------------------------------------------------------------------------------------------

STANDINGS = [
    Standing(name="n", membership=membership, cordoned=cordoned, lapsed=lapsed, instances=instances)
    for membership, cordoned, lapsed, instances in itertools.product(
        Membership, (False, True), (False, True), (0, 2)
    )
]


@pytest.mark.parametrize("act", Act)
def test_every_command_is_ruled_for_every_standing(act: Act) -> None:
    for standing in STANDINGS:
        try:
            ruling = str(rule(act, standing))
        except Conflict as refused:
            ruling = refused.detail
            assert "node n" in ruling
        member = standing.membership is Membership.APPROVED
        if act in (Act.CORDON, Act.UNCORDON):
            assert (ruling in ("allowed", "done")) is member
        if act is Act.REMOVE:
            assert (ruling == "allowed") is not (member and standing.instances > 0)
        if act is Act.APPROVE:
            assert (ruling == "done") is (member and not standing.lapsed)


@pytest.mark.parametrize(
    ("act", "membership", "says"),
    [
        (Act.APPROVE, Membership.REJECTED, "it is rejected; remove it .* join with a new token"),
        (Act.APPROVE, Membership.REVOKED, "it is revoked; remove it"),
        (Act.REJECT, Membership.APPROVED, "it is approved; revoke it"),
        (Act.REVOKE, Membership.PENDING, "it is pending; reject it"),
        (Act.CORDON, Membership.PENDING, "it is pending; approve it first"),
        (Act.UPDATE, Membership.REVOKED, "it is revoked"),
    ],
)
def test_a_contradiction_says_what_to_do_instead(act: Act, membership: Membership, says: str) -> None:
    with pytest.raises(Conflict, match=says):
        rule(act, Standing(name="n", membership=membership))


async def test_repeating_a_command_changes_nothing_and_leaves_no_trace(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    for act in (approve_node, cordon_node, uncordon_node, revoke_node):
        first = await act(registry.deps, command(node_id))
        said = await verbs(registry)
        assert await act(registry.deps, command(node_id)) == first
        assert await verbs(registry) == said


async def test_what_the_scheduler_sees_raises_the_placement_version(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = (await registry.register(machine)).node_id
    steps = [
        (approve_node, command(node_id)),
        (cordon_node, command(node_id, reason="new kernel")),
        (uncordon_node, command(node_id)),
        (update_node, UpdateNode(caller=ADMIN, node=node_id, labels={"disk": "ssd"})),
        (update_node, UpdateNode(caller=ADMIN, node=node_id, pool="edge")),
        (revoke_node, command(node_id)),
    ]
    for act, request in steps:
        before = (await row_of(registry, node_id)).placement_version
        await act(registry.deps, request)  # type: ignore[operator]  # each with its own request
        assert (await row_of(registry, node_id)).placement_version == before + 1
    unseen = await row_of(registry, node_id)
    await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    assert (await row_of(registry, node_id)).placement_version == unseen.placement_version


async def test_a_node_is_moved_only_to_pools_that_its_owner_allows(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    async with registry.deps.change(ADMIN, action="test") as change:
        node = await change.tx.get(NodeRow, node_id, lock=True)
        assert node is not None
        policy = OwnerPolicy(file="/etc/lattice/node-policy.yaml", pools=("default", "home"))
        change.tx.update(
            node, inventory=Inventory(policy=policy).model_dump(mode="json"), document_dirty=False
        )
    with pytest.raises(
        Conflict, match=r"its owner allows only pool default or home \(/etc/lattice/node-policy"
    ):
        await update_node(registry.deps, UpdateNode(caller=ADMIN, node=node_id, pool="edge"))
    assert (await row_of(registry, node_id)).pool == "default"
    view = await update_node(registry.deps, UpdateNode(caller=ADMIN, node=node_id, pool="home"))
    assert view.pool == "home" and view.policy == policy
    assert (await row_of(registry, node_id)).document_dirty


async def test_every_change_is_a_fact_and_an_audit_row(registry: NodeRegistry, machine: Machine) -> None:
    node_id = (await registry.register(machine)).node_id
    await approve_node(registry.deps, command(node_id))
    await cordon_node(registry.deps, command(node_id, reason="new kernel"))
    await uncordon_node(registry.deps, command(node_id))
    await update_node(registry.deps, UpdateNode(caller=ADMIN, node=node_id, labels={"disk": "ssd"}))
    await revoke_node(registry.deps, command(node_id))
    await remove_node(registry.deps, command(node_id))
    done = ["registered", "approved", "cordoned", "uncordoned", "updated", "revoked", "removed"]
    assert await verbs(registry) == [f"node.{verb}" for verb in done]
    by_admin = [action for actor, action in await actions(registry) if actor == "user:ada"]
    assert by_admin == [
        f"node.{act}" for act in ("approve", "cordon", "uncordon", "update", "revoke", "remove")
    ]


async def test_a_cordon_shows_its_reason_and_ends_with_it(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    async with registry.store.transaction() as tx:
        row = await tx.get(NodeRow, node_id)
        assert row is not None
        tx.update(row, liveness=Liveness.READY.value)
    view = await cordon_node(registry.deps, command(node_id, reason="new kernel"))
    assert (view.state, view.reason) == (NodeState.CORDONED, "new kernel")
    view = await uncordon_node(registry.deps, command(node_id))
    assert (view.state, view.reason) == (NodeState.READY, "")


async def test_an_update_without_change_or_with_bad_labels_is_refused(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    with pytest.raises(Invalid, match="Nothing to change"):
        await update_node(registry.deps, UpdateNode(caller=ADMIN, node=node_id))
    with pytest.raises(Invalid, match="label"):
        await update_node(registry.deps, UpdateNode(caller=ADMIN, node=node_id, labels={"a b": "c"}))


async def test_a_command_on_an_older_sight_is_refused(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    version = (await get_node(registry.deps, GetByName(ref=node_id))).version
    with pytest.raises(StaleVersion, match=f"at version {version}"):
        await cordon_node(registry.deps, command(node_id, if_match=f'"{version - 1}"'))
    assert (
        await cordon_node(registry.deps, command(node_id, if_match=f'"{version}"'))
    ).version == version + 1


async def test_an_idempotency_key_answers_the_same_and_refuses_another_request(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    keyed = ADMIN.model_copy(update={"idempotency_key": "k1", "request_hash": "h1"})
    request = command(node_id).model_copy(update={"caller": keyed})
    first = await cordon_node(registry.deps, request)
    await uncordon_node(registry.deps, command(node_id))
    assert await cordon_node(registry.deps, request) == first
    other = keyed.model_copy(update={"request_hash": "h2"})
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await cordon_node(registry.deps, request.model_copy(update={"caller": other}))


async def test_unknown_nodes_are_not_found(registry: NodeRegistry) -> None:
    for act in (approve_node, reject_node, revoke_node, cordon_node, uncordon_node, remove_node):
        with pytest.raises(NotFound, match="no node 'ghost'"):
            await act(registry.deps, command("ghost"))
    with pytest.raises(NotFound):
        await get_node(registry.deps, GetByName(ref="ghost"))


async def test_nodes_are_listed_by_state_and_in_pages(registry: NodeRegistry) -> None:
    names = [f"rack-{number}" for number in range(5)]
    for name in names:
        await registry.register(Machine(name))
    await reject_node(registry.deps, command("rack-0"))
    pending = await list_nodes(registry.deps, ListNodes(state="pending"))
    assert [view.name for view in pending.items] == ["rack-4", "rack-3", "rack-2", "rack-1"]
    first = await list_nodes(registry.deps, ListNodes(page_size=3))
    rest = await list_nodes(registry.deps, ListNodes(page_size=3, page_token=first.next_page_token))
    assert [view.name for view in (*first.items, *rest.items)] == list(reversed(names))
    assert rest.next_page_token is None
    with pytest.raises(Invalid, match="use one of pending, joining, ready"):
        await list_nodes(registry.deps, ListNodes(state="happy"))


# --- leaving -----------------------------------------------------------------------------------------------


async def place_instance(registry: NodeRegistry, node_id: str) -> None:
    async with registry.store.transaction() as tx:
        tx.add(
            InstanceRow(
                id="in-1",
                workload_id="wl-1",
                workload_name="web",
                project="default",
                slot=0,
                epoch=1,
                revision=1,
                desired="running",
                node_id=node_id,
                phase="running",
                created_at=registry.clock.now(),
            )
        )


async def test_a_member_with_instances_is_not_removed(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    await place_instance(registry, node_id)
    with pytest.raises(Conflict, match=r"1 instance is on it.*lattice rm NAME.*revoke rack-1"):
        await remove_node(registry.deps, command(node_id))
    assert registry.cuts == []


async def test_removing_a_revoked_node_gives_up_what_was_on_it(
    registry: NodeRegistry, machine: Machine
) -> None:
    node_id = await approved(registry, machine)
    await place_instance(registry, node_id)
    now = registry.clock.now()
    async with registry.store.transaction() as tx:
        tx.add(NodePresenceRow(id=node_id, last_seen=now))
        tx.add(SecretRow(id="se-1", project="default", name="api-key", created_at=now, updated_at=now))
        tx.add(SealedCopyRow(id=f"se-1-1-{node_id}", secret_id="se-1", number=1, node_id=node_id, sealed="x"))
    await revoke_node(registry.deps, command(node_id))
    async with registry.store.transaction() as tx:
        (revoked,) = await tx.find(FactRow, verb="revoked")
    assert revoked.data["secrets_to_change"] == ["default/api-key"]
    await remove_node(registry.deps, command(node_id))
    async with registry.store.transaction() as tx:
        instance = await tx.get(InstanceRow, "in-1")
        assert await tx.count(NodePresenceRow) == await tx.count(SealedCopyRow) == 0
    assert instance is not None
    assert (instance.gone_at, instance.phase, instance.reason) == (
        now,
        "failed",
        "its node rack-1 was removed",
    )
    assert (await verbs(registry))[-2:] == ["instance.lost", "node.removed"]


async def test_a_removed_member_is_revoked_and_its_link_cut(registry: NodeRegistry, machine: Machine) -> None:
    node_id = await approved(registry, machine)
    await remove_node(registry.deps, command(node_id))
    row = await row_of(registry, node_id)
    assert (row.membership, row.decided_at, row.removed_at) == (
        "revoked",
        registry.clock.now(),
        registry.clock.now(),
    )
    assert registry.cuts == [registry.clock.now()]


async def test_nothing_is_written_when_a_command_fails(registry: NodeRegistry, machine: Machine) -> None:
    node_id = (await registry.register(machine)).node_id
    before = (await row_of(registry, node_id)).model_dump(), await verbs(registry), await actions(registry)
    for act in (revoke_node, cordon_node, uncordon_node):
        with pytest.raises(LatticeError):
            await act(registry.deps, command(node_id))
    after = (await row_of(registry, node_id)).model_dump(), await verbs(registry), await actions(registry)
    assert before == after
