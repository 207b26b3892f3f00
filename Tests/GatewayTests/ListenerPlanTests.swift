import Testing

@testable import Gateway

@Suite("Sockets when the configuration is read again")
struct ListenerPlanTests {
    private static let first = IPAddress(ipv4: 0xC000_0201)
    private static let second = IPAddress(ipv4: 0xC000_0202)
    private static let any = IPAddress(ipv4: 0)

    private static func entry(
        _ address: IPAddress, _ port: UInt16 = 5684, _ security: GatewayConfiguration.Security = .dtls
    ) -> GatewayConfiguration.Listener {
        .init(security: security, address: address, port: port)
    }

    private static func bound(_ slot: Int, _ entry: Int, _ address: IPAddress, _ port: UInt16 = 5684)
        -> ListenerPlan.Bound
    {
        .init(slot: slot, entry: entry, address: PeerAddress(address, port: port))
    }

    private static func plan(
        _ bound: [ListenerPlan.Bound], _ old: [GatewayConfiguration.Listener], _ new: [GatewayConfiguration.Listener],
        locals: [IPAddress] = [Self.first, Self.second]
    ) -> ListenerPlan {
        ListenerPlan(bound: bound, old: old, new: new) { entry in
            entry.isWildcard
                ? locals.map { PeerAddress($0, port: 0) } : [PeerAddress(entry.address, port: entry.port)]
        }
    }

    @Test("What stays keeps its socket, whatever its place in the list; what is new is made, what is gone goes")
    func addsAndRemoves() {
        let plan = Self.plan(
            [Self.bound(0, 0, Self.first), Self.bound(1, 1, Self.second)],
            [Self.entry(Self.first), Self.entry(Self.second)],
            [Self.entry(Self.second, 5783), Self.entry(Self.second)])
        #expect(plan.kept == [.init(slot: 1, entry: 1)])
        #expect(plan.added == [.init(entry: 0, address: PeerAddress(Self.second, port: 5783))])
        #expect(plan.removed == [0])
        #expect(plan.obstacles.isEmpty)
    }

    @Test("Other attributes of a listener leave its socket alone")
    func attributes() {
        var changed = Self.entry(Self.first)
        changed.connectionIDs = false
        let plan = Self.plan([Self.bound(3, 0, Self.first)], [Self.entry(Self.first)], [changed])
        #expect(plan.kept == [.init(slot: 3, entry: 0)])
        #expect(plan.added.isEmpty && plan.removed.isEmpty)
    }

    @Test("A port that the system chose stays, and two entries that say the same are two")
    func systemPorts() {
        let entries = [Self.entry(Self.first, 0), Self.entry(Self.first, 0)]
        let bound = [Self.bound(0, 0, Self.first, 40_001), Self.bound(1, 1, Self.first, 40_002)]
        let same = Self.plan(bound, entries, entries)
        #expect(same.kept == [.init(slot: 0, entry: 0), .init(slot: 1, entry: 1)])
        #expect(same.added.isEmpty && same.removed.isEmpty)
        let one = Self.plan(bound, entries, [entries[0]])
        #expect(one.kept == [.init(slot: 0, entry: 0)])
        #expect(one.removed == [1])
    }

    @Test("A wildcard takes up addresses that have come, at its port, and keeps those that are away")
    func wildcard() {
        let entries = [Self.entry(Self.any, 0)]
        let plan = Self.plan([Self.bound(0, 0, Self.first, 40_001)], entries, entries, locals: [Self.second])
        #expect(plan.kept == [.init(slot: 0, entry: 0)])
        #expect(plan.added == [.init(entry: 0, address: PeerAddress(Self.second, port: 40_001))])
        #expect(plan.removed.isEmpty)
    }

    @Test("A socket goes over from a wildcard to an entry of its own, and back")
    func handsOver() {
        let bound = [Self.bound(0, 0, Self.first), Self.bound(1, 0, Self.second)]
        let narrowed = Self.plan(bound, [Self.entry(Self.any)], [Self.entry(Self.second)])
        #expect(narrowed.kept == [.init(slot: 1, entry: 0)])
        #expect(narrowed.removed == [0])
        let widened = Self.plan([Self.bound(1, 0, Self.second)], [Self.entry(Self.second)], [Self.entry(Self.any)])
        #expect(widened.kept == [.init(slot: 1, entry: 0)])
        #expect(widened.added == [.init(entry: 0, address: PeerAddress(Self.first, port: 5684))])
        #expect(widened.removed.isEmpty)
    }

    @Test("An address and port cannot change between DTLS and plain while devices are there")
    func security() {
        let plan = Self.plan(
            [Self.bound(0, 0, Self.first)], [Self.entry(Self.first)], [Self.entry(Self.first, 5684, .plain)])
        #expect(plan.obstacles == ["listeners: 192.0.2.1:5684 changes between coap and coaps"])
    }
}
