package import LwM2M

/// Single resources of accounts: held until their instances are complete, then written as whole ones (T16, T38).
extension AccountRewriter {
    /// Whether a write goes to ``hold(_:contentFormat:payload:)`` instead of
    /// ``rewrite(path:contentFormat:payload:mint:)``: to single resources of objects 0 and 1.
    package static func holds(_ path: LwM2MPath) -> Bool {
        path.count == 3 && (path.objectID == 0 || path.objectID == 1)
    }

    /// Takes the write of a single resource, in any format. Upstream may be told at once that it is done; whether the
    /// account can go to the device shows when it is complete, at Finish at the latest.
    package mutating func hold(
        _ path: LwM2MPath, contentFormat: UInt16?, payload: [UInt8]
    ) throws(RewriteRefusal) {
        do {
            try self.holdResource(path, contentFormat: contentFormat, payload: payload)
            self.settle(path)
        } catch {
            self.note(error, at: path)
            throw error
        }
    }

    private mutating func holdResource(
        _ path: LwM2MPath, contentFormat: UInt16?, payload: [UInt8]
    ) throws(RewriteRefusal) {
        guard Self.holds(path), let object = path.objectID, let instance = path.instanceID else {
            throw .broken("\(path) is no single resource of an account")
        }
        let format = try Self.supported(contentFormat, at: path)
        let content: PathContent
        do { content = try PayloadCodec.decode(payload, format, at: path) } catch {
            throw .undecodable(error, format, at: path)
        }
        guard case .resource(let resource) = content else { throw .broken("\(path) holds no resource") }
        // Its type is not known here, and text or CBOR alone do not tell how an instance has to spell it.
        guard resource.spelling.map(\.format.isStructured) ?? true else {
            throw .notAllowed(
                "upstream writes \(path), which is unknown here, as \(format.name); let it use TLV, or write the instance",
                isAccount: false
            )
        }
        do throws(HeldAccounts.LimitReached) {
            try self.held.hold(resource, of: LwM2MPath(object, instance))
        } catch { throw .limit(error.message) }
        if format.isStructured { self.structuredFormat = contentFormat }
    }

    /// Whether anything held has to go to the device before a Finish does.
    package var holdsAccounts: Bool { self.held.isOpen }

    /// The same as ``mayFinish`` once everything that is held is at the device.
    package var mayFinishWithHeld: Bool {
        self.unfinished.isEmpty && self.refused.allSatisfy { self.held.isOpen(at: $0) }
    }

    /// The held instance that has to go to the device next, so that Finish may follow. What was refused before is tried
    /// again: something else may have changed.
    package var nextHeld: LwM2MPath? { self.held.next(all: true) }

    /// The held instance that has to go to the device next, so that it shows what upstream has written when upstream
    /// reads `target`; nil when none has to.
    package func nextHeld(before target: LwM2MPath) -> LwM2MPath? {
        self.held.isOpen(within: target) ? self.held.next(all: false) : nil
    }

    /// Rewrites a held instance as ``rewrite(path:contentFormat:payload:mint:)`` does a written one.
    ///
    /// It goes out in the structured format that upstream used last in this bootstrap, because the device is thought to
    /// take that one; if there was none, the resources cannot be said in it or the device does not take it, in the one that
    /// the device prefers; else in TLV, which every device of LwM2M 1.0 knows.
    package mutating func rewriteHeld(_ path: LwM2MPath, mint: Mint) throws(RewriteRefusal) -> RewrittenWrite {
        guard let object = path.objectID, let instance = self.held.instance(at: path) else {
            throw .broken("nothing is held for \(path)")
        }
        let before = self.checkpoint
        do throws(RewriteRefusal) {
            return try self.rewriteHeld(instance, at: path, object: object, mint: mint)
        } catch {
            self.checkpoint = before
            self.held.set(.refused, of: path)
            throw error
        }
    }

    private mutating func rewriteHeld(
        _ instance: ObjectInstance, at path: LwM2MPath, object: UInt16, mint: Mint
    ) throws(RewriteRefusal) -> RewrittenWrite {
        let (content, accounts) = try self.rewrite(.instance(instance), object: object, isRemembered: false, mint: mint)
        let place = self.place(path)
        for number in self.heldFormats(for: instance) {
            let format = ContentFormat(rawValue: number)
            guard let payload = try? PayloadCodec.encode(content, format, at: place) else { continue }
            return RewrittenWrite(
                path: place, contentFormat: number, payload: payload, accounts: accounts,
                serverInstances: object == 1 ? self.serverInstances(in: content) : [:]
            )
        }
        throw .malformed("\(path) has resources that are unknown here, in formats that do not go together")
    }

    /// In the order in which they are tried.
    private func heldFormats(for instance: ObjectInstance) -> [UInt16] {
        var formats = [self.structuredFormat, self.preferredFormat].compactMap(\.self)
        let spelled = instance.resources.lazy.compactMap { resource -> UInt16? in
            switch resource.value {
            case .single: resource.spelling?.format.rawValue
            case .multiple(let entries): entries.lazy.compactMap { $0.spelling?.format.rawValue }.first
            }
        }.first
        if let spelled { formats.append(spelled) }
        return formats.filter { !self.refusedFormats.contains($0) } + [ContentFormat.tlv.rawValue]
    }

    /// The device has refused a write because of its format. True if it may take another one that was not tried.
    mutating func formatWasRefused(_ number: UInt16) -> Bool {
        guard self.refusedFormats.insert(number).inserted else { return false }
        return [self.structuredFormat, self.preferredFormat, ContentFormat.tlv.rawValue].compactMap(\.self)
            .contains { !self.refusedFormats.contains($0) }
    }

    /// The device has taken the held instance.
    package mutating func heldWasWritten(_ path: LwM2MPath) {
        self.held.set(.written, of: path)
        // All of the instance is at the device; a resource that was refused by itself still has to be repeated.
        self.refused.remove(path)
    }

    /// The device has refused the held instance: Finish must not pass before it is corrected (T38).
    package mutating func heldWasRefused(_ path: LwM2MPath) { self.held.set(.refused, of: path) }

    // MARK: - Bodies that do not end

    /// The first block of a write has come. Until its last one has, Finish must not pass if it is for an account: upstream
    /// may have thought that its device has it (T42).
    package mutating func blocksBegan(_ segments: [String]) {
        guard let path = try? LwM2MPath(segments: segments), let object = path.objectID, object <= 1 else { return }
        let isFull = self.unfinished.count >= Self.maximumAccounts
        self.unfinished.insert(isFull ? LwM2MPath(object) : path)
    }

    /// A write of an account that has begun and has not ended, for the journal.
    package var unfinishedWrite: LwM2MPath? { self.unfinished.first }
}

extension ContentFormat {
    /// Whether a document of this format can hold whole instances.
    var isStructured: Bool {
        switch self.registered {
        case .tlv, .senMLJSON, .senMLCBOR, .json, .lwm2mCBOR: true
        default: false
        }
    }
}
