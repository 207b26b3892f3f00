internal import LwM2M

/// What refers to instances of accounts by their numbers follows where those have others at the device (T21).
///
/// Only access control does: resources 0 and 1 of object 2 name an object and an instance, which may be one of object 1 but
/// not of object 0. Links in objects 0 and 1 lead to objects 11, 21, 23 and 24, whose numbers are upstream's. Short server
/// IDs are the same on both sides (T23).
extension AccountRewriter {
    /// A write to object 2. It passes as it is, in any format, unless numbers differ.
    mutating func writeAccessControl(
        _ path: LwM2MPath, contentFormat: UInt16?, payload: [UInt8]
    ) throws(RewriteRefusal) -> RewrittenWrite {
        // From now on numbers stay, because what refers to them is at the device.
        self.arrangement.isReferredTo = true
        guard self.arrangement.moved.keys.contains(where: { $0.objectID == 1 }),
            path.resourceID.map({ $0 <= 1 }) ?? true
        else {
            return RewrittenWrite(path: path, contentFormat: contentFormat, payload: payload, accounts: [])
        }
        guard path.resourceID == nil else {
            throw .notAllowed("upstream writes \(path) alone; let it write the instance as a whole", isAccount: false)
        }
        let format = try Self.supported(contentFormat, at: path)
        do {
            let placed: PathContent =
                switch try PayloadCodec.decode(payload, format, at: path) {
                case .instance(let instance): .instance(self.placed(instance))
                case .instances(let instances): .instances(instances.map(self.placed))
                case .resource(let resource): .resource(resource)
                }
            return RewrittenWrite(
                path: path, contentFormat: contentFormat,
                payload: try PayloadCodec.encode(placed, format, at: path), accounts: []
            )
        } catch { throw .undecodable(error, format, at: path) }
    }

    private func placed(_ instance: ObjectInstance) -> ObjectInstance {
        AccessControl.moved(instance) { self.place(LwM2MPath(1, $0)).instanceID }
    }
}
