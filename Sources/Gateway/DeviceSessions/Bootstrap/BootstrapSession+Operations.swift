package import CoAP
internal import LwM2M
internal import Secrets
package import Timing

/// The commands of the bootstrap server: Discover, Read, Write, Delete, Finish (spec 1.3 to 1.7).
extension BootstrapSession {
    /// How many commands of the server may wait; a server sends the next one after the answer to the one before.
    private static var maximumHeld: Int { 8 }

    /// A block of a body has arrived from the server or at the device: both are at work.
    package mutating func blockPassed(now: Instant) {
        self.attempt?.timeline.blockPassed()
        if self.attempt != nil { self.startTimer(now) }
    }

    /// A body of the server is larger than what is put together here, and nobody can know what it was for: Finish must
    /// not pass without it (T42, T46).
    package mutating func upstreamBodyRefused(wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt else { return }
        var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: .unsupported)
        event.detail += [.init("reason", .text("a body of more than \(self.configuration.limits.body) bytes"))]
        actions.append(.journal(event))
        actions.append(.warn(.unsupported))
        self.attempt?.noteRefusal(.unsupported)
        self.attempt?.mustNotFinish = true
    }

    /// A new request of the server on the lease of this bootstrap, with its whole body.
    package mutating func upstreamRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        guard let step = self.attempt?.step else {
            actions.append(.answerUpstream(id, CoAPResponse(.gatewayTimeout)))
            return
        }
        switch step {
        case .requesting where self.attempt?.pack != nil, .delivering:
            // A pack is asked for; there is nothing to command.
            actions.append(.answerUpstream(id, CoAPResponse(.gatewayTimeout)))
        case .leasing:
            // No lease, no server: the request belongs to one that was given back.
            actions.append(.answerUpstream(id, CoAPResponse(.gatewayTimeout)))
        case .requesting, .running(.some):
            self.startTimer(now)
            if let waiting = self.attempt?.held.count, waiting < Self.maximumHeld {
                self.attempt?.held.append(Attempt.Held(id: id, request: request))
            } else {
                actions.append(.answerUpstream(id, CoAPResponse(.serviceUnavailable, maxAge: 1)))
            }
        case .running(.none):
            self.startTimer(now)
            let before = actions.count
            self.carryOut(id, request, wallClock: wallClock, into: &actions)
            self.noteAnswer(to: id, in: actions[before...], wallClock)
        }
    }

    mutating func carryOut(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let path = request.uriPath else {
            actions.append(.answerUpstream(id, CoAPResponse(.badRequest)))
            return
        }
        let operation = BootstrapOperation(
            from: .server, method: request.code.rawValue, path: path, accept: request.accept
        )
        guard self.attempt?.witness == nil else {
            self.watch(operation, id, request, path: path, wallClock: wallClock, into: &actions)
            return
        }
        guard !self.mustDiscover(before: operation) else {
            self.discover(before: request, id, wallClock: wallClock, into: &actions)
            return
        }
        if self.attempt?.rewriter.holdsAccounts == true,
            self.writeHeld(before: operation, id, request, wallClock: wallClock, into: &actions)
        {
            return
        }
        self.attempt?.timeline.begins(operation, bytes: request.payload.count, at: wallClock)
        switch operation {
        case .write(let target) where AccountRewriter.holds(target):
            self.hold(id, request, at: target, wallClock: wallClock, into: &actions)
        case .write: self.write(id, request, path: path, wallClock: wallClock, into: &actions)
        case .delete(let target):
            var placed = target
            do throws(RewriteRefusal) {
                placed = try self.attempt?.rewriter.permitDelete(target) ?? target
            } catch {
                actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: error.code))))
                return
            }
            self.passToDevice(id, CoAPRequest(.delete, path: placed.segments), isFinish: false, into: &actions)
        case .discover(let target), .read(let target):
            let placed = self.attempt?.rewriter.place(target) ?? target
            let passed = CoAPRequest(.get, path: placed.segments, accept: request.accept)
            let question: Attempt.Question =
                if case .discover = operation { .discover(target) } else { .read(target) }
            self.passToDevice(id, passed, isFinish: false, question: question, into: &actions)
        case .finish: self.finish(id, wallClock: wallClock, into: &actions)
        case .refused(let code): actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: code))))
        case .request, .other: actions.append(.answerUpstream(id, CoAPResponse(.methodNotAllowed)))
        }
    }

    // MARK: - Write

    private mutating func write(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, path: [String], wallClock: Int64,
        into actions: inout [Action]
    ) {
        do throws(RewriteRefusal) {
            let (passed, accounts) = try self.rewritten(
                .upstream(request, path: path), wallClock: wallClock, into: &actions
            )
            self.passToDevice(id, passed, isFinish: false, accounts: accounts, into: &actions)
        } catch {
            actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: error.code))))
            self.noteRefusal(error, of: "/" + path.joined(separator: "/"), wallClock: wallClock, into: &actions)
        }
    }

    /// Where the content of a write comes from.
    enum WriteSource {
        case upstream(CoAPRequest, path: [String])
        case held(LwM2MPath)
    }

    /// The write that the device gets, and what depends on its answer. What was minted for it is on its way to the store.
    mutating func rewritten(
        _ source: WriteSource, wallClock: Int64, into actions: inout [Action]
    ) throws(RewriteRefusal) -> (CoAPRequest, Attempt.SentAccounts?) {
        guard let endpoint = self.attempt?.endpoint, let before = self.attempt?.rewriter.checkpoint else {
            throw .broken("there is no bootstrap")
        }
        var minted: [OneTimeCredential] = []
        let iccid = self.subject.record.iccid
        let policy = self.configuration.credentials
        func mint(_ server: String, _ shortServerID: UInt16) -> (PSKIdentity, Secret) {
            let credential = OneTimeCredential.mint(
                for: iccid, endpoint: endpoint, server: server, shortServerID: shortServerID,
                policy: policy, at: wallClock
            )
            let pair = (credential.identity, credential.key)
            minted.append(consume credential)
            return pair
        }
        let result: RewrittenWrite?
        switch source {
        case .upstream(let request, let path):
            result = try self.attempt?.rewriter.rewrite(
                path: path, contentFormat: request.contentFormat, payload: request.payload, mint: mint
            )
        case .held(let path): result = try self.attempt?.rewriter.rewriteHeld(path, mint: mint)
        }
        guard let written = result else { throw .broken("there is no bootstrap") }
        self.keep(minted, for: written.accounts, wallClock: wallClock, into: &actions)
        if !written.serverInstances.isEmpty { actions.append(.serversWritten(written.serverInstances)) }
        var passed = CoAPRequest(.put, path: written.path.segments)
        if let format = written.contentFormat { passed.options.append(.contentFormat, uint: UInt32(format)) }
        passed.payload = written.payload
        // Not the device's before it has taken them.
        self.attempt?.untaken.formUnion(minted.map(\.identity))
        guard let object = written.path.objectID, object <= 1 else { return (passed, nil) }
        let identities = self.attempt?.identities(in: written.accounts) ?? []
        let accounts = Attempt.SentAccounts(
            before: before, identities: identities, format: written.contentFormat,
            hasBootstrapAccount: written.accounts.contains(where: \.isBootstrapServer)
        )
        return (passed, accounts)
    }

    // MARK: - Finish

    private mutating func finish(
        _ id: MessageLayer.RequestID, wallClock: Int64, into actions: inout [Action]
    ) {
        // A Finish that was meant for an earlier bootstrap may come late. The device would finish with accounts that open
        // no door any more (T3).
        let isStale = self.mayHoldDiscarded && self.attempt?.hasHandedOut == false
        guard self.attempt?.mayFinish == true, !isStale else {
            // The server may correct what was refused and finish again; until then the device must not.
            self.noteUnfinished(wallClock: wallClock, into: &actions)
            actions.append(.answerUpstream(id, CoAPResponse(.notAcceptable)))
            return
        }
        self.storeBeforeFinish(id, into: &actions)
    }

    /// Finish waits until all that it promises is on disk.
    mutating func storeBeforeFinish(_ id: MessageLayer.RequestID, into actions: inout [Action]) {
        if self.configuration.isAuditStrict {
            // An order without credentials: the journal alone has to be on disk.
            self.attempt?.storing += 1
            actions.append(.store([], grants: []))
        }
        guard self.attempt?.storing == 0 else {
            let waiting = Attempt.Operation(request: id, isFinish: true, stage: .waitingForStore)
            self.attempt?.step = .running(waiting)
            return
        }
        self.publishBeforeFinish(id, into: &actions)
    }

    /// Everything is on disk. Servers that hold one key of an endpoint learn the new one now and not before, because the
    /// device's old one counts there no more from then on.
    private mutating func publishBeforeFinish(_ id: MessageLayer.RequestID, into actions: inout [Action]) {
        let credentials = self.attempt?.published(.one, at: self.configuration.servers) ?? []
        guard !credentials.isEmpty else {
            self.passFinish(id, into: &actions)
            return
        }
        self.attempt?.isPublished = true
        self.attempt?.step = .running(
            Attempt.Operation(request: id, isFinish: true, stage: .waitingForPublication)
        )
        actions.append(.publish(credentials))
    }

    /// The servers have taken the new keys, or `failure` says why not: then Finish must not pass.
    package mutating func credentialsPublished(
        _ failure: FailureCause?, wallClock: Int64, into actions: inout [Action]
    ) {
        if case .delivering? = self.attempt?.step {
            self.packPublished(failure, wallClock: wallClock, into: &actions)
            return
        }
        guard case .running(.some(let operation))? = self.attempt?.step,
            case .waitingForPublication = operation.stage
        else { return }
        self.noteRelease(wallClock)
        if let failure {
            self.refuseFinish(operation, failure, wallClock: wallClock, into: &actions)
        } else {
            self.passFinish(operation.request, into: &actions)
        }
    }

    private mutating func refuseFinish(
        _ operation: Attempt.Operation, _ cause: FailureCause, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.step = .running(nil)
        actions.append(.answerUpstream(operation.request, CoAPResponse(.internalServerError)))
        self.fail(cause, releasing: .parked, wallClock: wallClock, into: &actions)
    }

    /// Puts back what servers with one key for each endpoint knew before this attempt.
    func restore(_ attempt: Attempt, into actions: inout [Action]) {
        guard attempt.isPublished else { return }
        actions.append(.restore(attempt.published(.one, at: self.configuration.servers)))
    }

    func commit(_ attempt: Attempt, into actions: inout [Action]) {
        for keys in GatewayConfiguration.KeysPerEndpoint.allCases {
            let credentials = attempt.published(keys, at: self.configuration.servers)
            if !credentials.isEmpty { actions.append(.commit(credentials, keys)) }
        }
    }

    private mutating func passFinish(_ id: MessageLayer.RequestID, into actions: inout [Action]) {
        self.attempt?.finishReachedDevice = true
        self.passToDevice(id, CoAPRequest(.post, path: ["bs"]), isFinish: true, into: &actions)
    }

    /// The credentials of one store order are on disk and published where they can be at once, or `failure` says why not.
    package mutating func credentialsStored(
        _ failure: FailureCause?, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let storing = self.attempt?.storing, storing > 0 else { return }
        self.attempt?.storing = storing - 1
        if storing == 1 { self.noteRelease(wallClock) }
        if let failure {
            self.attempt?.refusal = failure
            self.attempt?.mustNotFinish = true
        }
        if case .delivering? = self.attempt?.step {
            if storing == 1 { self.packStored(failure, wallClock: wallClock, into: &actions) }
            return
        }
        guard storing == 1, case .running(.some(let operation))? = self.attempt?.step,
            case .waitingForStore = operation.stage
        else { return }
        if self.attempt?.mustNotFinish == true {
            let cause = failure ?? self.attempt?.refusal ?? .storeUnavailable
            self.refuseFinish(operation, cause, wallClock: wallClock, into: &actions)
        } else {
            self.publishBeforeFinish(operation.request, into: &actions)
        }
    }

    // MARK: - The device's side

    mutating func passToDevice(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, isFinish: Bool, question: Attempt.Question? = nil,
        heldWrite: Attempt.HeldWrite? = nil, accounts: Attempt.SentAccounts? = nil,
        into actions: inout [Action]
    ) {
        let isWrite = request.code == .put
        self.attempt?.step = .running(
            Attempt.Operation(
                request: id, isFinish: isFinish, isWrite: isWrite, accounts: accounts, stage: .atDevice,
                question: question, heldWrite: heldWrite
            )
        )
        actions.append(.requestDevice(request))
    }

    /// The device has answered the command that is under way.
    package mutating func deviceAnswered(
        _ response: CoAPResponse, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let operation = self.attempt?.operationAtDevice() ?? nil else { return }
        self.attempt?.timeline.answered(response.code, bytes: response.payload.count, at: wallClock)
        if let accounts = operation.accounts {
            self.attempt?.settle(accounts, isTaken: response.code.isSuccess)
        }
        // What is held may go out in another format.
        let isNewFormat =
            response.code == .unsupportedContentFormat
            && operation.accounts?.format.flatMap { self.attempt?.rewriter.formatWasRefused($0) } ?? false
        if let held = operation.heldWrite {
            self.heldAnswered(
                held, operation.request, response, isToRepeat: isNewFormat, now: now, wallClock: wallClock,
                into: &actions
            )
            return
        }
        if response.contentFormat == ContentFormat.linkFormat.rawValue,
            let answer = response.payload.withUnsafeBytes({ EnablerVersion.hasPriorities($0) })
        {
            self.attempt?.rewriter.hasPriorities = answer
        }
        if let waiting = operation.waiting {
            self.discovered(
                response, before: waiting, operation.request, now: now, wallClock: wallClock, into: &actions
            )
            return
        }
        let passed = self.answer(response, to: operation.question, wallClock: wallClock, into: &actions)
        actions.append(.answerUpstream(operation.request, passed))
        if operation.isFinish && response.code == .changed {
            if self.attempt?.witness == nil {
                self.learnFromFinish(wallClock: wallClock, into: &actions)
            } else {
                self.concludeWatch(wallClock: wallClock, into: &actions)
            }
            if let order = self.attempt?.rewriter.secureFirst {
                self.attempt?.detail.append(.init("secure-first", .text(order.rawValue)))
            }
            actions.append(.releaseLease(.clean))
            self.tellTimeline(wallClock)
            self.journal(.bootstrapFinished, wallClock, into: &actions)
            if let attempt = self.endAttempt() { self.commit(attempt, into: &actions) }
            self.mayHoldDiscarded = false
            actions.append(.ended(nil))
            return
        }
        if operation.isFinish && response.code != .notAcceptable {
            self.attempt?.detail = [.init("code", .text(response.code.description))]
            self.fail(.finishRefused, releasing: .parked, wallClock: wallClock, into: &actions)
            return
        }
        // What the device refuses is the cause of the end, unless the server corrects it.
        if operation.isWrite && !response.code.isSuccess { self.attempt?.noteRefusal(.deviceRefused) }
        if operation.isFinish {
            // 4.06: the server may correct the configuration and finish again (spec 1.7).
            self.attempt?.finishReachedDevice = false
            self.attempt?.noteRefusal(.finishRefused)
            if self.attempt?.rewriter.hasWrittenAccounts == true { self.attempt?.isRefusedByDevice = true }
            if let attempt = self.attempt { self.restore(attempt, into: &actions) }
            self.attempt?.isPublished = false
        }
        self.continueWithHeld(now: now, wallClock: wallClock, into: &actions)
    }

    /// The device did not answer, or refused the message itself.
    package mutating func deviceFailed(
        _ failure: MessageLayer.Failure, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let operation = self.attempt?.operationAtDevice() ?? nil else { return }
        self.attempt?.timeline.failed(failure, at: wallClock)
        if let waiting = operation.waiting, failure == .reset || failure == .unusableResponse {
            self.discoveryRefused(
                before: waiting, operation.request, now: now, wallClock: wallClock, into: &actions
            )
            return
        }
        // The first message without an acknowledgement stops the flow (spec 4.7).
        actions.append(.answerUpstream(operation.request, UpstreamAnswer.response(to: failure)))
        self.attempt?.step = .running(nil)
        let isUnreachable = failure == .unacknowledged || failure == .noResponse
        self.fail(
            isUnreachable ? .deviceUnreachable : .deviceRefused, releasing: .parked, wallClock: wallClock,
            into: &actions
        )
    }

    mutating func continueWithHeld(
        now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.step = .running(nil)
        while case .running(.none)? = self.attempt?.step, let next = self.attempt?.takeFirstHeld() {
            self.upstreamRequested(next.id, next.request, now: now, wallClock: wallClock, into: &actions)
        }
    }
}
