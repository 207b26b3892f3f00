/// One instance of the Server object: how the device behaves towards the server of the same short server ID (spec 2.2).
///
/// A view on the instance: what it does not name, or nobody changes, is kept byte for byte in its place.
package struct ServerAccount: Sendable, Hashable {
    package let instanceID: UInt16
    private var list: ResourceList

    /// Throws when there is no short server ID from 1 to 65534, and for every known resource of a wrong type. Other
    /// resources may be missing: upstream servers leave out even what is mandatory.
    package init(_ instance: ObjectInstance) throws(AccountError) {
        self.instanceID = instance.id
        self.list = ResourceList(instance.resources)
        if let id = self.list.firstDuplicate { throw self.error(id, .duplicate) }
        if let id = self.list.firstInvalid(.server) { throw self.error(id, .invalid) }
        guard let number = self.integer(0) else { throw self.error(0, .missing) }
        guard (1...65_534).contains(number) else { throw self.error(0, .invalid) }
    }

    /// The instance as it is written to a device.
    package var instance: ObjectInstance { ObjectInstance(id: self.instanceID, resources: self.list.resources) }

    /// Resource 0, 1 to 65534.
    package var shortServerID: UInt16 { self.integer(0).flatMap(UInt16.init(exactly:)) ?? 0 }

    /// Resource 1, seconds.
    package var lifetime: Int64? { self.integer(1) }

    /// Resource 7: a letter for each transport, and Q for queue mode.
    package var binding: String? {
        get { self.list.single(7).flatMap(ResourceValue.string) }
        set { self.list.set(7, newValue.map { ResourceValue.bytes($0) }) }
    }

    /// Resource 13: servers are registered with in ascending order.
    package var registrationPriority: UInt64? {
        get { self.list.single(13).flatMap(ResourceValue.unsigned) }
        set { self.list.set(13, newValue.map { ResourceValue.bytes(unsigned: $0) }) }
    }

    /// Resource 22: the letter of one transport.
    package var preferredTransport: String? {
        get { self.list.single(22).flatMap(ResourceValue.string) }
        set { self.list.set(22, newValue.map { ResourceValue.bytes($0) }) }
    }

    private func integer(_ id: UInt16) -> Int64? { self.list.single(id).flatMap(ResourceValue.integer) }

    private func error(_ id: UInt16, _ reason: AccountError.Reason) -> AccountError {
        AccountError(objectID: 1, instanceID: self.instanceID, resourceID: id, reason: reason)
    }
}

extension ServerAccount: CustomStringConvertible, CustomReflectable {
    package var description: String { "/1/\(self.instanceID) (server \(self.shortServerID))" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
