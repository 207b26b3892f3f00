package import CoAP
internal import LwM2M
internal import Timing

/// Accounts that the server writes resource by resource: held here, and written as whole instances before anything that
/// depends on them (T16, T38).
extension BootstrapSession {
    /// A single resource of an account: the server is told at once that it is written.
    mutating func hold(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, at path: LwM2MPath, wallClock: Int64,
        into actions: inout [Action]
    ) {
        do throws(RewriteRefusal) {
            try self.attempt?.rewriter.hold(path, contentFormat: request.contentFormat, payload: request.payload)
            actions.append(.answerUpstream(id, CoAPResponse(.changed)))
        } catch {
            actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: error.code))))
            self.noteRefusal(error, of: path.description, wallClock: wallClock, into: &actions)
        }
    }

    /// Writes the next held account to the device, if the server's command depends on it: Finish on all of them, reads on
    /// what they show. Once the device has taken it the command comes here again, until nothing is left.
    ///
    /// - Returns: true when the command waits or has its answer; false when it is to be carried out now.
    mutating func writeHeld(
        before operation: BootstrapOperation, _ id: MessageLayer.RequestID, _ request: CoAPRequest, wallClock: Int64,
        into actions: inout [Action]
    ) -> Bool {
        switch operation {
        case .finish:
            // Refused for other reasons anyway.
            guard self.attempt?.mayFinishWithHeld == true else { return false }
            guard let path = self.attempt?.rewriter.nextHeld else { return false }
            do throws(RewriteRefusal) {
                let write = try self.rewritten(.held(path), wallClock: wallClock, into: &actions)
                self.pass(write, of: path, before: request, id, wallClock: wallClock, into: &actions)
            } catch {
                self.attempt?.timeline.begins(operation, bytes: 0, at: wallClock)
                // Not complete, or no valid account: the server may add what is missing and finish again.
                actions.append(.answerUpstream(id, CoAPResponse(.notAcceptable)))
                self.noteRefusal(error, of: path.description, wallClock: wallClock, into: &actions)
            }
            return true
        case .discover(let target), .read(let target):
            while let path = self.attempt?.rewriter.nextHeld(before: target) {
                // What is not complete yet is none of the device's business yet, and refused at Finish only.
                guard
                    let write = try? self.rewritten(.held(path), wallClock: wallClock, into: &actions)
                else { continue }
                self.pass(write, of: path, before: request, id, wallClock: wallClock, into: &actions)
                return true
            }
            return false
        case .write, .delete, .refused, .request, .other: return false
        }
    }

    private mutating func pass(
        _ write: (request: CoAPRequest, accounts: Attempt.SentAccounts?), of path: LwM2MPath, before next: CoAPRequest,
        _ id: MessageLayer.RequestID, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.timeline.begins(.write(path), bytes: write.request.payload.count, at: wallClock)
        self.passToDevice(
            id, write.request, isFinish: false, heldWrite: .init(path: path, next: next), accounts: write.accounts,
            into: &actions
        )
    }

    /// The device has answered the write of a held account. The server knows nothing of that write: what it hears of it
    /// is the answer to Finish. `isToRepeat`: the device did not take the format, and may take another one.
    mutating func heldAnswered(
        _ held: Attempt.HeldWrite, _ id: MessageLayer.RequestID, _ response: CoAPResponse, isToRepeat: Bool,
        now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.step = .running(nil)
        if self.attempt?.witness != nil {
            self.keptAnswered(held, response, wallClock: wallClock, into: &actions)
        } else if response.code.isSuccess {
            self.attempt?.rewriter.heldWasWritten(held.path)
        } else if !isToRepeat {
            self.attempt?.rewriter.heldWasRefused(held.path)
            self.noteRefusal(
                .deviceRefused, of: held.path.description,
                "the device answers \(response.code) to the account; let the server correct it and finish again",
                wallClock: wallClock, into: &actions
            )
        }
        let before = actions.count
        if !response.code.isSuccess, !isToRepeat, self.attempt?.witness == nil, held.next.code == .post {
            self.attempt?.timeline.begins(.finish, bytes: 0, at: wallClock)
            actions.append(.answerUpstream(id, CoAPResponse(.notAcceptable)))
        } else {
            self.carryOut(id, held.next, wallClock: wallClock, into: &actions)
        }
        self.noteAnswer(to: id, in: actions[before...], wallClock)
        guard case .running(.none)? = self.attempt?.step else { return }
        self.continueWithHeld(now: now, wallClock: wallClock, into: &actions)
    }

    // MARK: - Refusals

    /// Records that a write of the server was refused.
    mutating func noteRefusal(
        _ refusal: RewriteRefusal, of path: String, wallClock: Int64, into actions: inout [Action]
    ) {
        self.journalRefusal(refusal.cause, of: path, refusal.message, wallClock: wallClock, into: &actions)
        if refusal.isAccount { self.attempt?.noteRefusal(refusal.cause) }
    }

    private mutating func noteRefusal(
        _ cause: FailureCause, of path: String, _ reason: String, wallClock: Int64, into actions: inout [Action]
    ) {
        self.journalRefusal(cause, of: path, reason, wallClock: wallClock, into: &actions)
        self.attempt?.noteRefusal(cause)
    }

    private func journalRefusal(
        _ cause: FailureCause, of path: String, _ reason: String, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.attempt else { return }
        var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: cause)
        event.detail += [.init("path", .text(path)), .init("reason", .text(reason))]
        actions.append(.journal(event))
        actions.append(.warn(cause))
    }

    // MARK: - Bodies that do not end

    /// The first block of a write has come, and others have to follow.
    package mutating func upstreamBodyBegan(_ request: CoAPRequest) {
        guard let path = request.uriPath else { return }
        self.attempt?.rewriter.blocksBegan(path)
    }

    /// Says why Finish is refused when no write was: one of them never came to its end (T42).
    mutating func noteUnfinished(wallClock: Int64, into actions: inout [Action]) {
        guard let path = self.attempt?.rewriter.unfinishedWrite else { return }
        self.noteRefusal(
            .upstreamMalformed, of: path.description,
            "upstream finishes in the middle of the blocks of this write; let it send all of them",
            wallClock: wallClock, into: &actions
        )
    }
}
