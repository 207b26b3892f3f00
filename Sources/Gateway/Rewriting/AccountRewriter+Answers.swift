package import LwM2M

/// What a device answers, as upstream would see it without a gateway in between (T32 to T35).
///
/// Numbers that were changed are changed back, addresses are the ones that upstream wrote, and so is what the gateway changed
/// in a Server object, as long as the device has it as it was written. What upstream did not write in this bootstrap it is not
/// told: then there is no `uri`. The bootstrap account is shown, because servers look for it to keep away from it.
extension AccountRewriter {
    /// Why an answer does not go on to upstream, which gets 5.02.
    package struct UnusableAnswer: Error, Sendable, Equatable {
        /// For the operator. Holds no values.
        package var message: String
    }

    /// The answer to a Discover of upstream.
    package func answer(toDiscover payload: [UInt8]) throws(UnusableAnswer) -> [UInt8] {
        var list = try Self.links(payload)
        list.links = list.links.compactMap { link in
            guard let path = link.path, let object = path.objectID, object <= 1, let number = path.instanceID else {
                return link
            }
            guard let origin = self.origin(of: path) else { return nil }
            var link = link
            link.move(to: origin)
            guard object == 0 else { return link }
            if let uri = self.uri(atDevice: number) { link.replace("uri", with: uri) } else { link.remove("uri") }
            return link
        }
        return list.bytes
    }

    /// The answer to a Read of upstream, whose path this is.
    package func answer(
        toRead payload: [UInt8], contentFormat: UInt16?, of path: LwM2MPath
    ) throws(UnusableAnswer) -> [UInt8] {
        guard let contentFormat else {
            throw UnusableAnswer(message: "the device's answer to a read of \(path) has no content format")
        }
        let format = ContentFormat(rawValue: contentFormat)
        do {
            let content = try PayloadCodec.decode(payload, format, at: self.place(path))
            let original = self.original(content, object: path.objectID ?? 0)
            // As the device spelled it, where nothing was changed.
            return original == content ? payload : try PayloadCodec.encode(original, format, at: path)
        } catch {
            throw UnusableAnswer(
                message: "the device's answer to a read of \(path) is no valid \(format.name): \(error)"
            )
        }
    }

    static func links(_ payload: [UInt8]) throws(UnusableAnswer) -> LinkFormat {
        do { return try LinkFormat(payload) } catch {
            throw UnusableAnswer(message: "the device's answer to Discover is no valid list of links: \(error)")
        }
    }

    /// As upstream wrote it in this bootstrap.
    private func uri(atDevice instance: UInt16) -> String? {
        self.written[instance]?.uri ?? (self.bootstrapInstanceID == instance ? self.arrangement.bootstrapURI : nil)
    }

    private func original(_ content: PathContent, object: UInt16) -> PathContent {
        switch content {
        case .instance(let instance):
            self.original(instance, object: object).map { .instance($0) } ?? content
        case .instances(let instances): .instances(instances.compactMap { self.original($0, object: object) })
        case .resource: content
        }
    }

    private func original(_ instance: ObjectInstance, object: UInt16) -> ObjectInstance? {
        guard let id = self.origin(of: LwM2MPath(object, instance.id))?.instanceID else { return nil }
        var instance = instance
        switch object {
        case 1: self.undoChanges(of: &instance)
        case 2: instance = AccessControl.moved(instance) { self.origin(of: LwM2MPath(1, $0))?.instanceID }
        default: break
        }
        return ObjectInstance(id: id, resources: instance.resources)
    }

    // MARK: - Server objects

    /// What the gateway made of a Server object.
    struct ServerChange: Sendable {
        var before: ServerAccount
        var after: ServerAccount
    }

    /// Remembers what was changed in a Server object, for when upstream reads it.
    mutating func note(_ before: ServerAccount, became after: ServerAccount) {
        let server = before.shortServerID
        let isKnown = self.arrangement.changes[server] != nil
        guard isKnown || before != after, isKnown || self.arrangement.changes.count < Self.maximumAccounts else {
            return
        }
        self.arrangement.changes[server] = before == after ? nil : ServerChange(before: before, after: after)
    }

    private func undoChanges(of instance: inout ObjectInstance) {
        guard var account = try? ServerAccount(instance), let change = self.arrangement.changes[account.shortServerID]
        else { return }
        if account.binding == change.after.binding { account.binding = change.before.binding }
        if account.preferredTransport == change.after.preferredTransport {
            account.preferredTransport = change.before.preferredTransport
        }
        if account.registrationPriority == change.after.registrationPriority {
            account.registrationPriority = change.before.registrationPriority
        }
        instance = account.instance
    }
}

/// Instances of object 2, which say who may do what with an instance of another object (T21).
enum AccessControl {
    /// The same about another instance, if it is about one of object 1 and that has another number.
    static func moved(_ instance: ObjectInstance, _ number: (UInt16) -> UInt16?) -> ObjectInstance {
        guard instance.integer(0) == 1, let id = instance.integer(1).flatMap({ UInt16(exactly: $0) }),
            let other = number(id), other != id, let index = instance.resources.firstIndex(where: { $0.id == 1 })
        else { return instance }
        var instance = instance
        instance.resources[index].value = .single(ResourceValue.bytes(Int64(other)))
        return instance
    }
}

extension ObjectInstance {
    fileprivate func integer(_ id: UInt16) -> Int64? {
        guard let resource = self.resources.first(where: { $0.id == id }), resource.spelling == nil,
            case .single(let bytes) = resource.value
        else { return nil }
        return ResourceValue.integer(bytes)
    }
}
