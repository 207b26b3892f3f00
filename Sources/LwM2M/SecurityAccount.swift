package import Secrets

/// One instance of the Security object: which server, and how the device proves itself to it (spec 2.1).
///
/// A view on the instance: what it does not name, or nobody changes, is kept byte for byte in its place. The secret
/// resources, 5 and 8, are held apart as ``Secret``; nothing prints them or the identity in full.
package struct SecurityAccount: Sendable, Equatable {
    package let instanceID: UInt16
    // Resources 5 and 8 stand in their place without their bytes.
    private var list: ResourceList
    private var storedSecretKey: Secret?
    private var storedSMSKeys: Secret?

    /// Throws when resource 0, 1 or 2 is missing, when a server account has no short server ID from 1 to 65534, and for
    /// every known resource of a wrong type.
    package init(_ instance: ObjectInstance) throws(AccountError) {
        self.instanceID = instance.id
        self.list = ResourceList(instance.resources)
        if let id = self.list.firstDuplicate { throw self.error(id, .duplicate) }
        if let id = self.list.firstInvalid(.security) { throw self.error(id, .invalid) }
        self.storedSecretKey = self.takeSecret(5)
        self.storedSMSKeys = self.takeSecret(8)
        for id: UInt16 in [0, 1, 2] where self.list.single(id) == nil { throw self.error(id, .missing) }
        guard self.integer(2).flatMap(UInt8.init(exactly:)).flatMap(SecurityMode.init(rawValue:)) != nil else {
            throw self.error(2, .invalid)
        }
        if self.isBootstrapServer { return }
        guard self.list.single(10) != nil else { throw self.error(10, .missing) }
        guard self.shortServerID != nil else { throw self.error(10, .invalid) }
    }

    /// The instance as it is written to a device.
    package var instance: ObjectInstance {
        var list = self.list
        if let secret = self.storedSecretKey { list.set(5, secret.withUnsafeBytes { Array($0) }) }
        if let secret = self.storedSMSKeys { list.set(8, secret.withUnsafeBytes { Array($0) }) }
        return ObjectInstance(id: self.instanceID, resources: list.resources)
    }

    /// Resource 0: as it was written, not yet parsed.
    package var uri: String {
        get { self.list.single(0).flatMap(ResourceValue.string) ?? "" }
        set { self.list.set(0, ResourceValue.bytes(newValue)) }
    }

    /// Resource 1.
    package var isBootstrapServer: Bool { self.list.single(1).flatMap(ResourceValue.boolean) ?? false }

    /// Resource 2.
    package var securityMode: SecurityMode {
        get { self.integer(2).flatMap(UInt8.init(exactly:)).flatMap(SecurityMode.init(rawValue:)) ?? .noSec }
        set { self.list.set(2, ResourceValue.bytes(Int64(newValue.rawValue))) }
    }

    /// Resource 3: PSK identity, raw public key or certificate of the device. Nil when absent.
    package var publicKeyOrIdentity: [UInt8]? {
        get { self.list.single(3) }
        set { self.list.set(3, newValue) }
    }

    /// Resource 4. Nil when absent.
    package var serverPublicKey: [UInt8]? {
        get { self.list.single(4) }
        set { self.list.set(4, newValue) }
    }

    /// Resource 5: the PSK or the device's private key. Nil when absent.
    package var secretKey: Secret? {
        get { self.storedSecretKey }
        set {
            self.storedSecretKey = newValue
            self.list.set(5, newValue == nil ? nil : [])
        }
    }

    /// Resource 6: 1 DTLS-PSK, 2 secure packet, 3 NoSec.
    package var smsSecurityMode: Int64? {
        get { self.integer(6) }
        set { self.list.set(6, newValue.map { ResourceValue.bytes($0) }) }
    }

    /// Resource 7. Nil when absent.
    package var smsKeyParameters: [UInt8]? {
        get { self.list.single(7) }
        set { self.list.set(7, newValue) }
    }

    /// Resource 8. Nil when absent.
    package var smsKeys: Secret? {
        get { self.storedSMSKeys }
        set {
            self.storedSMSKeys = newValue
            self.list.set(8, newValue == nil ? nil : [])
        }
    }

    /// Resource 10 when it is from 1 to 65534. Never nil on a server account; a bootstrap account may have any integer there,
    /// or none.
    package var shortServerID: UInt16? {
        self.integer(10).flatMap(UInt16.init(exactly:)).flatMap { (1...65_534).contains($0) ? $0 : nil }
    }

    /// Resource 11, seconds.
    package var clientHoldOff: Int64? { self.integer(11) }

    /// Resource 12, seconds; not 0: the device forgets its bootstrap account that long after a bootstrap (T41).
    package var accountTimeout: Int64? { self.integer(12) }

    /// Resource 13.
    package var matchingType: UInt64? { self.list.single(13).flatMap(ResourceValue.unsigned) }

    /// Resource 14.
    package var serverNameIndication: String? { self.list.single(14).flatMap(ResourceValue.string) }

    /// Resource 16: IANA numbers.
    package var cipherSuites: [UInt64] { self.values(16).compactMap(ResourceValue.unsigned) }

    /// Resource 17: the instance of object 21 that OSCORE takes its keys from. The null link is nil.
    package var oscoreLink: ObjectLink? {
        self.list.single(17).flatMap(ResourceValue.objectLink).flatMap { $0.isNull ? nil : $0 }
    }

    /// Resource 25: further addresses of the same server (T18).
    package var secondaryURIs: [String] { self.values(25).compactMap(ResourceValue.string) }

    /// Removes resources, known or not.
    package mutating func remove(_ ids: ClosedRange<UInt16>) {
        if ids.contains(5) { self.storedSecretKey = nil }
        if ids.contains(8) { self.storedSMSKeys = nil }
        self.list.remove(ids)
    }

    private func integer(_ id: UInt16) -> Int64? { self.list.single(id).flatMap(ResourceValue.integer) }

    private func values(_ id: UInt16) -> [[UInt8]] {
        guard case .multiple(let instances)? = self.list.value(id) else { return [] }
        return instances.map(\.bytes)
    }

    /// The bytes of a resource as a secret; their place is kept.
    private mutating func takeSecret(_ id: UInt16) -> Secret? {
        guard let bytes = self.list.single(id) else { return nil }
        self.list.set(id, [])
        return Secret(bytes)
    }

    private func error(_ id: UInt16, _ reason: AccountError.Reason) -> AccountError {
        AccountError(objectID: 0, instanceID: self.instanceID, resourceID: id, reason: reason)
    }
}

extension SecurityAccount: CustomStringConvertible, CustomReflectable {
    package var description: String {
        let server = self.isBootstrapServer ? "bootstrap server" : "server \(self.shortServerID.map { "\($0)" } ?? "?")"
        let identity = self.publicKeyOrIdentity.map { ", identity of \($0.count) bytes" } ?? ""
        let key = self.secretKey.map { ", key of \($0.count) bytes" } ?? ""
        return "/0/\(self.instanceID) (\(server), \(self.securityMode.name)\(identity)\(key))"
    }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
