internal import CoAP
internal import LwM2M
internal import Secrets

/// Log-and-audit mode: the gateway as a witness. The server's commands pass as they are, in their order; beside them runs the
/// ``AccountRewriter`` of `enforce`, whose outcome goes to the journal and not to the device.
///
/// Nothing is minted: where `enforce` would have made a one-time identity and key, the journal names them and no bytes.
extension BootstrapSession {
    /// What log-and-audit mode keeps of one bootstrap.
    struct Witness: Sendable {
        let keepsDevice: Bool
        /// The first cause for which `enforce` would have refused something that counts.
        var would: FailureCause?
    }

    /// A command of the server, which `enforce` would have carried out otherwise.
    ///
    /// Two things are refused all the same: what is malformed, and a read of object 0, whose values are keys.
    mutating func watch(
        _ operation: BootstrapOperation, _ id: MessageLayer.RequestID, _ request: CoAPRequest, path: [String],
        wallClock: Int64, into actions: inout [Action]
    ) {
        if case .finish = operation {
            self.watchFinish(id, request, wallClock: wallClock, into: &actions)
            return
        }
        self.attempt?.timeline.begins(operation, bytes: request.payload.count, at: wallClock)
        var passed = CoAPRequest(request.code, path: path, accept: request.accept)
        switch operation {
        case .write(let target):
            let kept = self.keptDevice(in: request, at: target)
            self.watchWrite(request, at: target, path: path, isKept: kept != nil, wallClock: wallClock, into: &actions)
            passed = Self.copy(of: request, path: path, payload: kept ?? request.payload)
        case .delete(let target):
            do throws(RewriteRefusal) { try self.attempt?.rewriter.permitDelete(target) } catch {
                self.wouldRefuse(error, of: target.description, wallClock: wallClock, into: &actions)
            }
        case .discover, .read: break
        case .refused(let code) where Self.isHarmless(code, request, path):
            self.wouldRefuse(
                .unsupported, of: "/" + path.joined(separator: "/"), "this is no operation of a bootstrap",
                wallClock: wallClock, into: &actions
            )
            passed = Self.copy(of: request, path: path, payload: request.payload)
        case .refused(let code):
            actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: code))))
            return
        case .finish, .request, .other:
            actions.append(.answerUpstream(id, CoAPResponse(.methodNotAllowed)))
            return
        }
        self.passToDevice(id, passed, isFinish: false, into: &actions)
    }

    private static func copy(of request: CoAPRequest, path: [String], payload: [UInt8]) -> CoAPRequest {
        var copy = CoAPRequest(
            request.code, path: path, contentFormat: request.contentFormat, accept: request.accept, payload: payload
        )
        for parameter in request.uriQuery ?? [] { copy.options.append(.uriQuery, string: parameter) }
        return copy
    }

    private static func isHarmless(_ code: UInt8, _ request: CoAPRequest, _ path: [String]) -> Bool {
        guard code == RewriteRefusal.methodNotAllowed else { return false }
        switch request.code {
        case .get: return path.first != "0"
        case .put, .post: return true
        default: return false
        }
    }

    // MARK: - Write

    /// The document with the bootstrap account that the device gets, if there is one in it and devices are kept.
    private func keptDevice(in request: CoAPRequest, at path: LwM2MPath) -> [UInt8]? {
        guard self.attempt?.witness?.keepsDevice == true else { return nil }
        return self.attempt?.rewriter.keepingDevice(
            in: request.payload, contentFormat: request.contentFormat, at: path
        )
    }

    private mutating func watchWrite(
        _ request: CoAPRequest, at target: LwM2MPath, path: [String], isKept: Bool, wallClock: Int64,
        into actions: inout [Action]
    ) {
        let mint = self.wouldMint
        do throws(RewriteRefusal) {
            if AccountRewriter.holds(target) {
                try self.attempt?.rewriter.hold(
                    target, contentFormat: request.contentFormat, payload: request.payload
                )
                return
            }
            let written = try self.attempt?.rewriter.rewrite(
                path: path, contentFormat: request.contentFormat, payload: request.payload, mint: mint
            )
            self.wouldWrite(written?.accounts ?? [], isKept: isKept, wallClock: wallClock, into: &actions)
        } catch {
            self.wouldRefuse(error, of: target.description, wallClock: wallClock, into: &actions)
        }
    }

    /// Stands for a one-time credential, which the journal only names.
    private var wouldMint: AccountRewriter.Mint {
        let identity = self.subject.record.identity
        let key = Secret([UInt8](repeating: 0, count: self.configuration.credentials.keyBytes))
        return { _, _ in (identity, key) }
    }

    // MARK: - Finish

    /// A body that was too large never reached the device, so Finish must not either (T42). All else passes.
    private mutating func watchFinish(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, wallClock: Int64, into actions: inout [Action]
    ) {
        guard self.attempt?.mustNotFinish == false else {
            self.attempt?.timeline.begins(.finish, bytes: 0, at: wallClock)
            actions.append(.answerUpstream(id, CoAPResponse(.notAcceptable)))
            return
        }
        // Accounts that were written resource by resource are at the device; what would have become of them shows now.
        let held = self.attempt?.rewriter.openHeld ?? []
        if self.attempt?.witness?.keepsDevice == true {
            for path in held {
                guard let kept = self.attempt?.rewriter.keepingDevice(heldAt: path) else { continue }
                self.watchHeld(path, isKept: true, wallClock: wallClock, into: &actions)
                self.attempt?.rewriter.heldWasWritten(path)
                self.attempt?.timeline.begins(.write(path), bytes: kept.payload.count, at: wallClock)
                self.passToDevice(
                    id, kept, isFinish: false, heldWrite: .init(path: path, next: request), into: &actions
                )
                return
            }
        }
        for path in held { self.watchHeld(path, isKept: false, wallClock: wallClock, into: &actions) }
        if let path = self.attempt?.rewriter.unfinishedWrite {
            self.wouldRefuse(
                .upstreamMalformed, of: path.description,
                "upstream finishes in the middle of the blocks of this write; let it send all of them",
                wallClock: wallClock, into: &actions
            )
        }
        self.attempt?.timeline.begins(.finish, bytes: 0, at: wallClock)
        self.storeBeforeFinish(id, into: &actions)
    }

    private mutating func watchHeld(
        _ path: LwM2MPath, isKept: Bool, wallClock: Int64, into actions: inout [Action]
    ) {
        let mint = self.wouldMint
        do throws(RewriteRefusal) {
            let written = try self.attempt?.rewriter.rewriteHeld(path, mint: mint)
            self.attempt?.rewriter.heldWasWritten(path)
            self.wouldWrite(written?.accounts ?? [], isKept: isKept, wallClock: wallClock, into: &actions)
        } catch {
            self.wouldRefuse(error, of: path.description, wallClock: wallClock, into: &actions)
        }
    }

    /// The device has answered the bootstrap account that leads back here. Whatever it says, it has the server's accounts.
    mutating func keptAnswered(
        _ held: Attempt.HeldWrite, _ response: CoAPResponse, wallClock: Int64, into actions: inout [Action]
    ) {
        guard !response.code.isSuccess, let attempt = self.attempt else { return }
        var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: .deviceRefused)
        event.detail += [
            .init("path", .text(held.path.description)),
            .init("reason", .text("the device answers \(response.code) to the account that leads back here")),
        ]
        actions.append(.journal(event))
        actions.append(.warn(.deviceRefused))
    }

    /// The device has finished. What it has now it got under the server's numbers, so what was known of its own account may
    /// not hold any more.
    mutating func concludeWatch(wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt, let witness = attempt.witness else { return }
        if attempt.rewriter.hasWrittenAccounts { self.remember(.unknown, wallClock: wallClock, into: &actions) }
        guard let would = witness.would else {
            self.attempt?.detail.append(AuditOutcome.wouldFinish.field)
            return
        }
        self.attempt?.detail += [AuditOutcome.wouldRefuse.field, .init("would-cause", .text(would.rawValue))]
    }

    // MARK: - Packs

    /// The server's pack goes on as it is, but for the bootstrap account of a device that is kept.
    mutating func watchPack(_ response: CoAPResponse, wallClock: Int64, into actions: inout [Action]) {
        var kept: [UInt8]?
        if self.attempt?.witness?.keepsDevice == true {
            kept = self.attempt?.rewriter.keepingDevice(inPack: response.payload, contentFormat: response.contentFormat)
        }
        let mint = self.wouldMint
        do throws(RewriteRefusal) {
            let pack = try self.attempt?.rewriter.rewrite(
                pack: response.payload, contentFormat: response.contentFormat, mint: mint
            )
            self.wouldWrite(pack?.accounts ?? [], isKept: kept != nil, wallClock: wallClock, into: &actions)
        } catch {
            self.wouldRefuse(error, of: "/bspack", wallClock: wallClock, into: &actions)
        }
        var answer = CoAPResponse(.content, contentFormat: response.contentFormat)
        answer.payload = kept ?? response.payload
        self.attempt?.pack = .ready(answer)
        self.attempt?.step = .delivering
    }

    // MARK: - Records

    /// `enforce` would have refused the device.
    mutating func wouldRefuse(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt else { return }
        self.attempt?.witness?.note(cause)
        let event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: cause)
        actions.append(.journal(event.with(.wouldRefuse)))
    }

    /// `enforce` would have refused a write of the server.
    private mutating func wouldRefuse(
        _ refusal: RewriteRefusal, of path: String, wallClock: Int64, into actions: inout [Action]
    ) {
        self.wouldRefuse(refusal.cause, of: path, refusal.message, wallClock: wallClock, into: &actions)
        if refusal.isAccount { self.attempt?.witness?.note(refusal.cause) }
    }

    private func wouldRefuse(
        _ cause: FailureCause, of path: String, _ reason: String, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.attempt else { return }
        var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: cause)
        event.detail += [.init("path", .text(path)), .init("reason", .text(reason))]
        actions.append(.journal(event.with(.wouldRefuse)))
    }

    /// The accounts as the server wrote them, which the device has got, and as `enforce` would have had them. `isKept`: the
    /// bootstrap account among them is the one that `enforce` would have written.
    private func wouldWrite(
        _ accounts: [AccountChange], isKept: Bool, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let origin = self.attempt?.origin else { return }
        for change in accounts {
            var event = self.writtenEvent(change, of: origin, wallClock, namesKeys: true)
            let got = change.isBootstrapServer && isKept ? "after" : "before"
            event.detail += [.init("device-got", .text(got))]
            actions.append(.journal(event.with(.wouldRewrite)))
        }
    }
}

extension BootstrapSession.Witness {
    fileprivate mutating func note(_ cause: FailureCause) { self.would = self.would ?? cause }
}
