/// The resources of one instance in the order in which they were written, to be read and changed by id.
///
/// What nobody changes stays as it is, byte for byte and in its place.
struct ResourceList: Hashable, Sendable {
    private(set) var resources: [Resource]

    init(_ resources: [Resource]) { self.resources = resources }

    /// The value of a single resource as TLV spells it; nil when it is absent, has several values or another spelling.
    func single(_ id: UInt16) -> [UInt8]? {
        guard let index = self.index(of: id), self.resources[index].spelling == nil,
            case .single(let bytes) = self.resources[index].value
        else { return nil }
        return bytes
    }

    func value(_ id: UInt16) -> Resource.Value? { self.index(of: id).map { self.resources[$0].value } }

    /// By place: a look at each whole resource would count references to its bytes.
    private func index(of id: UInt16) -> Int? {
        for index in self.resources.indices where self.resources[index].id == id { return index }
        return nil
    }

    /// Changes the resource where it stands. A new one goes behind the one with the next lower id that is there.
    mutating func set(_ id: UInt16, _ value: Resource.Value) {
        if let index = self.index(of: id) {
            self.resources[index] = Resource(id: id, value: value)
            return
        }
        var below: Int?
        for (index, resource) in self.resources.enumerated() where resource.id < id {
            if let best = below, self.resources[best].id >= resource.id { continue }
            below = index
        }
        self.resources.insert(Resource(id: id, value: value), at: below.map { $0 + 1 } ?? 0)
    }

    /// Sets a single value, or removes the resource.
    mutating func set(_ id: UInt16, _ bytes: [UInt8]?) {
        if let bytes { self.set(id, .single(bytes)) } else { self.remove(id...id) }
    }

    mutating func remove(_ ids: ClosedRange<UInt16>) { self.resources.removeAll { ids.contains($0.id) } }

    /// The first resource that is not what `definition` says: wrong type, or several values where one is due.
    func firstInvalid(_ definition: ObjectDefinition) -> UInt16? {
        self.resources.first { resource in
            guard let known = definition[resource.id] else { return false }
            switch resource.value {
            case .single(let bytes): return known.isMultiple || !known.type.accepts(bytes[...])
            case .multiple(let instances):
                return !known.isMultiple || !instances.allSatisfy { known.type.accepts($0.bytes[...]) }
            }
        }?.id
    }

    /// The first id that occurs twice.
    var firstDuplicate: UInt16? {
        // Ascending identifiers, which are the rule, need no set.
        if zip(self.resources, self.resources.dropFirst()).allSatisfy({ $0.id < $1.id }) { return nil }
        var seen: Set<UInt16> = []
        return self.resources.first { !seen.insert($0.id).inserted }?.id
    }
}

/// Why an instance of object 0 or 1 is no account. It holds no values of resources.
package struct AccountError: Error, Hashable, Sendable {
    package enum Reason: Hashable, Sendable {
        /// A resource without which nobody can tell what the account is for.
        case missing
        /// Wrong type, several values where one is due, or a value out of its range.
        case invalid
        case duplicate
    }

    package let objectID: UInt16
    package let instanceID: UInt16
    package let resourceID: UInt16
    package let reason: Reason
}

extension AccountError: CustomStringConvertible {
    package var description: String {
        let path = LwM2MPath(self.objectID, self.instanceID, self.resourceID)
        return switch self.reason {
        case .missing: "\(path) is missing"
        case .invalid: "\(path) has a wrong type or a value out of range"
        case .duplicate: "\(path) occurs twice"
        }
    }
}
