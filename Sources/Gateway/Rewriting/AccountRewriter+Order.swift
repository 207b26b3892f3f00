package import LwM2M

/// Secure servers first, where accounts without a rule are kept as plain ones (`interface.md`, section 4).
///
/// What is at the device already does not move. So within one write of a whole object the numbers of its server accounts
/// are dealt out anew, and in single writes of object 1 it is the Registration Priority Order, `/1/x/13`, that puts kept
/// plain servers behind, for devices that have said to speak LwM2M 1.1 or later. Where neither helps,
/// ``secureFirst`` says so for the journal. Nothing is touched in a bootstrap without a kept plain server, nor for
/// devices that came plain.
extension AccountRewriter {
    /// Priorities of kept plain servers begin here.
    static let plainPriorities: UInt64 = 65_536

    struct Arrangement: Sendable {
        /// The numbers that upstream's instances of objects 0 and 1 have at the device, where those are others.
        var moved: [LwM2MPath: UInt16] = [:]
        /// Priorities that were given out, by short server ID: a repeated write gets the same one.
        var priorities: [UInt16: UInt64] = [:]
        /// Instances of object 1 at the device.
        var servers: [UInt16: PlacedServer] = [:]
        /// What was changed in Server objects, by short server ID.
        var changes: [UInt16: ServerChange] = [:]
        /// The address in the bootstrap account that upstream wrote.
        var bootstrapURI: String?
        /// Something at the device refers to instances of object 1 by their numbers, so they stay.
        var isReferredTo = false
    }

    struct PlacedServer {
        var shortServerID: UInt16
        /// Resource 13 as the device has it.
        var priority: UInt64?
    }

    /// How well secure servers come before plain ones, in the journal's words.
    package enum SecureFirst: String, Sendable {
        case byInstance = "by instance"
        case byPriority = "by priority"
        case byBoth = "by instance and priority"
        case no = "no: a plain server was written before a secure one, and the device has not said to speak LwM2M 1.1"
        case notByPriority = "no: a Server object was written before its Security object"
    }

    /// Nil unless the device has got servers of both kinds.
    package var secureFirst: SecureFirst? {
        guard self.arrival == .dtls else { return nil }
        let secure = self.written.filter { $0.value.isSecure }.keys
        guard let lastSecure = secure.max(),
            let firstPlain = self.written.filter({ !$0.value.isSecure }).keys.min()
        else { return nil }
        let byInstance = lastSecure < firstPlain
        guard self.hasPriorities else { return byInstance ? .byInstance : .no }
        let servers = self.arrangement.servers.values
        let plain = servers.filter { self.isSecure($0.shortServerID) == false }
        // A server without a priority does not wait for others.
        let last = servers.filter { self.isSecure($0.shortServerID) == true }.compactMap(\.priority).max()
        let first = plain.compactMap(\.priority).min()
        let byPriority =
            !plain.isEmpty && plain.allSatisfy { $0.priority != nil } && (last ?? 0) < (first ?? 0)
        return switch (byInstance, byPriority) {
        case (true, true): .byBoth
        case (true, false): .byInstance
        case (false, true): .byPriority
        case (false, false): .notByPriority
        }
    }

    /// Nil when no account of it was written yet.
    private func isSecure(_ shortServerID: UInt16) -> Bool? {
        self.written.values.first { $0.shortServerID == shortServerID }?.isSecure
    }

    /// Where upstream's path leads at the device.
    package func place(_ path: LwM2MPath) -> LwM2MPath {
        guard !self.arrangement.moved.isEmpty, let object = path.objectID, let instance = path.instanceID,
            let moved = self.arrangement.moved[LwM2MPath(object, instance)]
        else { return path }
        return path.resourceID.map { LwM2MPath(object, moved, $0) } ?? LwM2MPath(object, moved)
    }

    /// The same for the instances of a write.
    func place(_ content: PathContent, object: UInt16) -> PathContent {
        guard !self.arrangement.moved.isEmpty else { return content }
        func place(_ instance: ObjectInstance) -> ObjectInstance {
            let id = self.place(LwM2MPath(object, instance.id)).instanceID ?? instance.id
            return ObjectInstance(id: id, resources: instance.resources)
        }
        return switch content {
        case .instance(let instance): .instance(place(instance))
        case .instances(let instances): .instances(instances.map(place))
        case .resource: content
        }
    }

    /// The instances of object 1 in a write, by short server ID.
    func serverInstances(in content: PathContent) -> [UInt16: UInt16] {
        let ids: [UInt16] =
            switch content {
            case .instance(let instance): [instance.id]
            case .instances(let instances): instances.map(\.id)
            case .resource: []
            }
        let known = ids.compactMap { id in self.arrangement.servers[id].map { ($0.shortServerID, id) } }
        return Dictionary(known) { first, _ in first }
    }

    mutating func forgetPlaces(within path: LwM2MPath) {
        if path == .root || path == LwM2MPath(2) { self.arrangement.isReferredTo = false }
        guard !self.arrangement.moved.isEmpty || !self.arrangement.servers.isEmpty else { return }
        self.arrangement.servers = self.arrangement.servers.filter { !LwM2MPath(1, $0.key).isWithin(path) }
        // A single instance keeps its place: another one may have its number.
        guard path.count < 2 else { return }
        self.arrangement.moved = self.arrangement.moved.filter { !$0.key.isWithin(path) }
    }

    // MARK: - Numbers

    /// Deals out the numbers of the server accounts in a write of a whole object anew, secure ones first. `upstream` are
    /// the numbers that upstream gave, in the same order.
    mutating func arrange(
        _ instances: [ObjectInstance], _ accounts: [AccountChange], object: UInt16, upstream: [UInt16]
    ) -> ([ObjectInstance], [AccountChange]) {
        guard self.arrival == .dtls, object == 0 || !self.arrangement.isReferredTo,
            let numbers = self.numbers(for: instances, object: object, isMoved: instances.map(\.id) != upstream)
        else {
            return (instances, accounts)
        }
        let positions = instances.indices.filter { numbers[instances[$0].id] != nil }
        let dealt = positions.map { index in
            ObjectInstance(
                id: numbers[instances[index].id] ?? instances[index].id, resources: instances[index].resources
            )
        }.sorted { $0.id < $1.id }
        var arranged = instances
        for (position, instance) in zip(positions, dealt) { arranged[position] = instance }
        for (own, device) in zip(upstream, instances.map(\.id)) {
            guard let number = numbers[device] else { continue }
            self.arrangement.moved[LwM2MPath(object, own)] = number == own ? nil : number
        }
        guard object == 0 else {
            let servers = self.arrangement.servers
            for (old, new) in numbers { self.arrangement.servers[new] = servers[old] }
            return (arranged, accounts)
        }
        let written = self.written
        for (old, new) in numbers { self.written[new] = written[old] }
        let changes = accounts.map { account in
            var account = account
            account.instanceID = numbers[account.instanceID] ?? account.instanceID
            return account
        }
        let order = arranged.map(\.id)
        return (
            arranged,
            changes.sorted { (order.firstIndex(of: $0.instanceID) ?? 0) < (order.firstIndex(of: $1.instanceID) ?? 0) }
        )
    }

    /// The new number of each server account; nil when they are as they should be, or it is not known which are secure.
    private func numbers(for instances: [ObjectInstance], object: UInt16, isMoved: Bool) -> [UInt16: UInt16]? {
        guard instances.count > 1 else { return nil }
        var servers: [(id: UInt16, isSecure: Bool)] = []
        for instance in instances {
            if object == 0 {
                // The bootstrap account stays where it is.
                guard let account = self.written[instance.id] else { continue }
                servers.append((instance.id, account.isSecure))
            } else {
                guard let server = self.arrangement.servers[instance.id],
                    let isSecure = self.isSecure(server.shortServerID)
                else { return nil }
                servers.append((instance.id, isSecure))
            }
        }
        servers.sort { $0.id < $1.id }
        let wanted = servers.filter(\.isSecure) + servers.filter { !$0.isSecure }
        let isInOrder = zip(servers, wanted).allSatisfy { $0.id == $1.id }
        // A repeated write comes out in the same order, too.
        guard !isInOrder || isMoved, Set(servers.map(\.id)).count == servers.count else { return nil }
        return Dictionary(zip(wanted.map(\.id), servers.map(\.id))) { first, _ in first }
    }

    // MARK: - Priorities

    /// Gives a Server object the priority that puts secure servers first, if one is needed, and remembers what it has.
    mutating func prioritize(_ account: ServerAccount) -> ServerAccount {
        var account = account
        if let priority = self.priority(for: account), priority != account.registrationPriority {
            account.registrationPriority = priority
        }
        // Beyond what a device can have nothing is remembered; then its order is upstream's.
        guard
            self.arrangement.servers.count < Self.maximumAccounts
                || self.arrangement.servers[account.instanceID] != nil
        else { return account }
        self.arrangement.servers[account.instanceID] = PlacedServer(
            shortServerID: account.shortServerID, priority: account.registrationPriority
        )
        return account
    }

    /// Nil: as upstream wrote it.
    private mutating func priority(for account: ServerAccount) -> UInt64? {
        guard self.arrival == .dtls, self.hasPriorities, let isSecure = self.isSecure(account.shortServerID),
            self.written.values.contains(where: { !$0.isSecure })
        else { return nil }
        let base = isSecure ? 0 : Self.plainPriorities
        if let own = account.registrationPriority {
            // Among themselves servers stay in upstream's order.
            return base + min(own, Self.plainPriorities - 1)
        }
        if let known = self.arrangement.priorities[account.shortServerID] { return known }
        let count = self.arrangement.priorities.values.count { ($0 < Self.plainPriorities) == isSecure }
        let priority = base + UInt64(count)
        self.arrangement.priorities[account.shortServerID] = priority
        return priority
    }
}

/// What a device says of the version of LwM2M that it speaks, as `lwm2m=1.1` in a query or a list of links.
enum EnablerVersion {
    /// Whether Server objects of this version have a Registration Priority Order; nil when the text names no version.
    static func hasPriorities(_ text: String) -> Bool? {
        var text = text
        return text.withUTF8 { self.hasPriorities(UnsafeRawBufferPointer($0)) }
    }

    /// The same for bytes that may be no text at all.
    static func hasPriorities(_ bytes: UnsafeRawBufferPointer) -> Bool? {
        let key: StaticString = "lwm2m="
        let keyBytes = UnsafeBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount)
        var rest = bytes[...]
        while !rest.starts(with: keyBytes) {
            guard let next = rest.dropFirst().firstIndex(of: keyBytes[0]) else { return nil }
            rest = bytes[next...]
        }
        rest = rest.dropFirst(keyBytes.count)
        rest = rest.drop { $0 == UInt8(ascii: "\"") }
        guard let major = Self.number(&rest) else { return nil }
        guard major == 1, rest.first == UInt8(ascii: ".") else { return major > 1 }
        rest.removeFirst()
        return Self.number(&rest).map { $0 >= 1 } ?? false
    }

    /// Takes the decimal digits at the start; nil when there are none, or too many for the number of a version.
    private static func number(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Int? {
        let digits = rest.prefix { $0 >= 48 && $0 <= 57 }
        guard (1...9).contains(digits.count) else { return nil }
        rest = rest[digits.endIndex...]
        return digits.reduce(0) { $0 * 10 + Int($1 - 48) }
    }
}
