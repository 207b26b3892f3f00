package import LwM2M

/// The device's own bootstrap account keeps its number (T19 to T21).
///
/// Where it is known, a bootstrap account of upstream goes there, and server accounts that upstream would write there go to
/// a free number. Both are exchanges of two numbers, so that every instance at the device has exactly one number upstream,
/// and the other way round: later commands and answers find their way by ``place(_:)`` and ``origin(of:)``.
extension AccountRewriter {
    /// Makes way for the accounts in a write of object 0, before their numbers are looked up.
    mutating func spareBootstrapAccount(_ content: PathContent, object: UInt16) {
        guard object == LwM2MPath.security, let own = self.bootstrapInstanceID else { return }
        let instances: [ObjectInstance] =
            switch content {
            case .instance(let instance): [instance]
            case .instances(let instances): instances
            case .resource: []
            }
        if let bootstrap = instances.first(where: \.isBootstrapAccount) { self.exchange(bootstrap.id, with: own) }
        for instance in instances where !instance.isBootstrapAccount && self.placed(instance.id) == own {
            let taken = Set(instances.map { self.placed($0.id) }).union(self.written.keys)
            // A document has fewer instances than there are numbers.
            guard let free = (0...UInt16.max).first(where: { $0 != own && !taken.contains($0) }) else { return }
            self.exchange(instance.id, with: free)
        }
    }

    /// Whether anything of object 0 has gone to the device and was not deleted again.
    var hasWrittenAccounts: Bool { !self.written.isEmpty || self.arrangement.bootstrapURI != nil }

    /// Whether upstream's instance of object 0 is a server account that it wrote in this bootstrap.
    func isServerAccount(_ path: LwM2MPath) -> Bool {
        self.place(path).instanceID.map { self.written[$0] != nil } ?? false
    }

    /// Upstream's number of an instance at the device; nil when it has none.
    package func origin(of path: LwM2MPath) -> LwM2MPath? {
        guard !self.arrangement.moved.isEmpty, let object = path.objectID, let instance = path.instanceID else {
            return path
        }
        let moved = self.arrangement.moved.first { $0.key.objectID == object && $0.value == instance }
        if let number = moved?.key.instanceID { return path.replacing(instance: number) }
        return self.arrangement.moved[LwM2MPath(object, instance)] == nil ? path : nil
    }

    private func placed(_ upstream: UInt16) -> UInt16 {
        self.arrangement.moved[LwM2MPath(LwM2MPath.security, upstream)] ?? upstream
    }

    /// Upstream's number leads to `number` at the device from now on, and what led there to where this one was.
    private mutating func exchange(_ upstream: UInt16, with number: UInt16) {
        let former = self.placed(upstream)
        guard former != number,
            let other = self.origin(of: LwM2MPath(LwM2MPath.security, number))?.instanceID
        else { return }
        self.lead(upstream, to: number)
        self.lead(other, to: former)
    }

    private mutating func lead(_ upstream: UInt16, to number: UInt16) {
        self.arrangement.moved[LwM2MPath(LwM2MPath.security, upstream)] = number == upstream ? nil : number
    }
}

extension LwM2MPath {
    fileprivate static let security: UInt16 = 0

    /// The same with another instance; itself where it names none.
    func replacing(instance: UInt16) -> LwM2MPath {
        guard let object = self.objectID, self.count > 1 else { return self }
        guard let resource = self.resourceID else { return LwM2MPath(object, instance) }
        guard let entry = self.resourceInstanceID else { return LwM2MPath(object, instance, resource) }
        return LwM2MPath(object, instance, resource, entry)
    }
}

extension ObjectInstance {
    /// Of object 0. What is no boolean there is refused when the account is read.
    var isBootstrapAccount: Bool {
        self.resources.contains { $0.id == 1 && $0.value == .single([1]) && $0.spelling == nil }
    }
}
