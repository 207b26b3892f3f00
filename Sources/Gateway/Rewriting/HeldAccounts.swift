internal import LwM2M
internal import Secrets

/// Accounts whose resources upstream writes one by one, in any order, until they make up whole instances (T16).
///
/// A device cannot be given half an account, and half an account cannot be rewritten: what a resource means depends on the
/// others. So resources wait here and go to the device as whole instances. A resource that is written after its instance
/// changes that instance, so what upstream wrote as whole instances is remembered, too. All numbers are upstream's.
struct HeldAccounts: Sendable {
    /// The most instances, held and remembered ones each (T46). Real devices have a handful.
    static let maximumInstances = 128
    /// The most resources of one held instance (T46).
    static let maximumResources = 64
    /// The most bytes of all values together (T46): as many as one body has.
    static let maximumBytes = 65_536
    /// A payload of whole instances that is larger is not remembered, in bytes.
    static let maximumRemembered = 4_096

    /// Why something cannot be held, for the operator.
    struct LimitReached: Error {
        let message: String
    }

    enum State: Sendable {
        /// Changed since it went to the device, or never there.
        case open
        /// The device, or the rewriter, has refused it as it stands.
        case refused
        /// At the device.
        case written
    }

    /// An instance as upstream wrote it whole.
    enum Whole: Sendable {
        case security(SecurityAccount)
        case server(ServerAccount)

        var resources: [Resource] {
            switch self {
            case .security(let account): account.instance.resources
            case .server(let account): account.instance.resources
            }
        }
    }

    private struct Instance: Sendable {
        let path: LwM2MPath
        var resources: [HeldResource]
        var state = State.open

        var bytes: Int { self.resources.reduce(0) { $0 + $1.bytes } }
    }

    /// In the order of their first resources.
    private var instances: [Instance] = []
    /// A handful: looked through faster than hashed.
    private var remembered: [(path: LwM2MPath, whole: Whole)] = []

    /// Whether something has to go to the device yet.
    var isOpen: Bool { self.instances.contains { $0.state != .written } }

    /// All that did not go to the device, those of object 0 first.
    var openPaths: [LwM2MPath] {
        let open = self.instances.lazy.filter { $0.state != .written }.map(\.path)
        return open.filter { $0.objectID == 0 } + open.filter { $0.objectID != 0 }
    }

    func isOpen(at path: LwM2MPath) -> Bool {
        self.instances.contains { $0.path == path && $0.state != .written }
    }

    /// The instance that goes to the device next: those of object 0 first, because object 1 is fitted to them.
    ///
    /// - Parameter all: also those that were refused before.
    func next(all: Bool) -> LwM2MPath? {
        let due = self.instances.lazy.filter { $0.state == .open || all && $0.state == .refused }
        return (due.first { $0.path.objectID == 0 } ?? due.first)?.path
    }

    /// Whether something that a read of `target` would show has not gone to the device.
    func isOpen(within target: LwM2MPath) -> Bool {
        self.instances.contains { $0.state == .open && ($0.path.isWithin(target) || target.isWithin($0.path)) }
    }

    /// The instance that a held one stands for now.
    func instance(at path: LwM2MPath) -> ObjectInstance? {
        guard let id = path.instanceID, let held = self.instances.first(where: { $0.path == path }) else { return nil }
        return ObjectInstance(id: id, resources: held.resources.map(\.resource))
    }

    /// Takes a resource of the instance at `path` in the place of what was written to it before. One that is refused
    /// changes nothing.
    mutating func hold(_ resource: Resource, of path: LwM2MPath) throws(LimitReached) {
        let isSecurity = path.objectID == 0
        let index = self.instances.firstIndex { $0.path == path }
        var instance = index.map { self.instances[$0] } ?? self.beginning(of: path)
        guard index != nil || self.instances.count < Self.maximumInstances else {
            throw LimitReached(
                message: "upstream writes single resources of more than \(Self.maximumInstances) instances"
            )
        }
        let held = HeldResource(resource, isSecurity: isSecurity)
        if let place = instance.resources.firstIndex(where: { $0.id == resource.id }) {
            instance.resources[place] = held
        } else {
            instance.resources.append(held)
        }
        guard instance.resources.count <= Self.maximumResources else {
            throw LimitReached(
                message: "upstream writes more than \(Self.maximumResources) single resources to \(path)"
            )
        }
        let others = self.instances.reduce(0) { $1.path == path ? $0 : $0 + $1.bytes }
        guard others + instance.bytes <= Self.maximumBytes else {
            throw LimitReached(message: "upstream's single resources have more than \(Self.maximumBytes) bytes")
        }
        instance.state = .open
        if let index {
            self.instances[index] = instance
        } else {
            self.remembered.removeAll { $0.path == path }
            self.instances.append(instance)
        }
    }

    /// An instance begins with what was written as a whole before.
    private func beginning(of path: LwM2MPath) -> Instance {
        let resources = self.remembered.first { $0.path == path }?.whole.resources ?? []
        return Instance(path: path, resources: resources.map { HeldResource($0, isSecurity: path.objectID == 0) })
    }

    mutating func set(_ state: State, of path: LwM2MPath) {
        guard let index = self.instances.firstIndex(where: { $0.path == path }) else { return }
        self.instances[index].state = state
    }

    /// Remembers what upstream has written as a whole.
    mutating func remember(_ whole: Whole, at path: LwM2MPath) {
        self.remembered.removeAll { $0.path == path }
        guard self.remembered.count < Self.maximumInstances else { return }
        self.remembered.append((path, whole))
    }

    /// Forgets what a write of whole instances, or a delete, has made void.
    mutating func void(within path: LwM2MPath) {
        if !self.instances.isEmpty { self.instances.removeAll { $0.path.isWithin(path) } }
        if !self.remembered.isEmpty { self.remembered.removeAll { $0.path.isWithin(path) } }
    }
}

extension HeldAccounts: CustomStringConvertible, CustomReflectable {
    var description: String { "\(self.instances.count) held instances" }
    var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// A resource that waits; its bytes are a ``Secret`` where they are a key.
private struct HeldResource: Sendable {
    /// Without its bytes where they are secret.
    private let stored: Resource
    private let secret: Secret?
    let bytes: Int

    /// `isSecurity`: of object 0, whose resources 5 and 8 are keys.
    init(_ resource: Resource, isSecurity: Bool) {
        let isSecret = isSecurity && (resource.id == 5 || resource.id == 8)
        switch resource.value {
        case .single(let bytes):
            self.bytes = bytes.count
            self.secret = isSecret ? Secret(bytes) : nil
            self.stored =
                isSecret ? Resource(id: resource.id, value: .single([]), spelling: resource.spelling) : resource
        case .multiple(let entries):
            self.bytes = entries.reduce(0) { $0 + $1.bytes.count }
            self.secret = nil
            self.stored = resource
        }
    }

    var id: UInt16 { self.stored.id }

    var resource: Resource {
        guard let secret = self.secret else { return self.stored }
        let bytes = secret.withUnsafeBytes { Array($0) }
        return Resource(id: self.stored.id, value: .single(bytes), spelling: self.stored.spelling)
    }
}
