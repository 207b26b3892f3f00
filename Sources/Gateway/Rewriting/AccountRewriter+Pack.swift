internal import LwM2M

/// A bootstrap pack as it goes on to the device: all that upstream writes, in one document (T40).
package struct RewrittenPack: Sendable {
    /// May hold keys: never logged (T44).
    package var payload: [UInt8]
    /// One for each instance of object 0 in the pack, in its order.
    package var accounts: [AccountChange]
    /// Instances of object 1 in the pack, by short server ID.
    package var serverInstances: [UInt16: UInt16]
}

extension RewrittenPack: CustomStringConvertible, CustomReflectable {
    package var description: String { "pack of \(self.payload.count) bytes, \(self.accounts.count) accounts" }
    package var customMirror: Mirror { Mirror(self, children: ["accounts": self.accounts]) }
}

extension AccountRewriter {
    /// The formats of packs (spec 1.8).
    package static func isPackFormat(_ number: UInt16) -> Bool {
        [.senMLJSON, .senMLCBOR, .lwm2mCBOR].contains(ContentFormat(rawValue: number))
    }

    /// Decides about a whole pack, like a write of the root: all of it goes on, or nothing does (T42). Objects 0, 1 and 2
    /// are rewritten as in writes of their own, others pass as they are.
    package mutating func rewrite(
        pack payload: [UInt8], contentFormat: UInt16?, mint: Mint
    ) throws(RewriteRefusal) -> RewrittenPack {
        guard let contentFormat, Self.isPackFormat(contentFormat) else {
            throw .malformed("upstream's pack has no format that a pack can have")
        }
        let format = ContentFormat(rawValue: contentFormat)
        var objects: [ObjectContent]
        do { objects = try PayloadCodec.decodePack(payload, format) } catch {
            throw .malformed("upstream's pack is no valid \(format.name): \(error)")
        }
        // Its keys would be of no use: the accounts that lead to the gateway have no OSCORE link (T31).
        guard !objects.contains(where: { $0.id == 21 }) else {
            throw .notAllowed("upstream's pack has OSCORE keys", isAccount: true)
        }
        var pack = RewrittenPack(payload: [], accounts: [], serverInstances: [:])
        // Accounts before what depends on them, wherever they stand in the document.
        for id: UInt16 in [0, 1] {
            guard let index = objects.firstIndex(where: { $0.id == id }) else { continue }
            let (content, accounts) = try self.rewrite(
                .instances(objects[index].instances), object: id, isRemembered: false, mint: mint
            )
            guard case .instances(let instances) = content else { throw .broken("a pack has lost its instances") }
            objects[index].instances = instances
            pack.accounts += accounts
            if id == 1 { pack.serverInstances = self.serverInstances(in: content) }
        }
        if let index = objects.firstIndex(where: { $0.id == 2 }) {
            objects[index].instances = objects[index].instances.map { instance in
                AccessControl.moved(instance) { self.place(LwM2MPath(1, $0)).instanceID }
            }
        }
        do { pack.payload = try PayloadCodec.encodePack(objects, format) } catch {
            throw .broken("a pack cannot be encoded: \(error)")
        }
        return pack
    }
}
