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

    private mutating func carryOut(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let path = request.uriPath else {
            actions.append(.answerUpstream(id, CoAPResponse(.badRequest)))
            return
        }
        let operation = BootstrapOperation(
            from: .server, method: request.code.rawValue, path: path, accept: request.accept
        )
        self.attempt?.timeline.begins(operation, bytes: request.payload.count, at: wallClock)
        switch operation {
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
            self.passToDevice(id, passed, isFinish: false, into: &actions)
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
        // Taken out while it is worked on; every way out puts it back.
        guard var attempt = self.attempt.take() else { return }
        var minted: [OneTimeCredential] = []
        let written: RewrittenWrite
        do throws(RewriteRefusal) {
            let record = self.subject.record
            let policy = self.configuration.credentials
            let endpoint = attempt.endpoint
            written = try attempt.rewriter.rewrite(
                path: path, contentFormat: request.contentFormat, payload: request.payload
            ) { server, shortServerID in
                let credential = OneTimeCredential.mint(
                    for: record, endpoint: endpoint, server: server, shortServerID: shortServerID,
                    policy: policy, at: wallClock
                )
                minted.append(credential)
                return (credential.identity, credential.key)
            }
        } catch {
            actions.append(.answerUpstream(id, CoAPResponse(CoAPCode(rawValue: error.code))))
            let detail: [AuditEvent.Field] = [
                .init("path", .text("/" + path.joined(separator: "/"))), .init("reason", .text(error.message)),
            ]
            var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: error.cause)
            event.detail += detail
            actions.append(.journal(event))
            actions.append(.warn(error.cause))
            if error.isAccount && attempt.refusal == nil { attempt.refusal = error.cause }
            self.attempt = attempt
            return
        }
        for index in minted.indices {
            // Which account it was minted for shows only now.
            minted[index].written =
                written.accounts.first {
                    $0.server == minted[index].server && $0.shortServerID == minted[index].shortServerID
                }?.written
        }
        attempt.minted += minted
        let granted = self.grants(for: written.accounts, of: attempt, wallClock: wallClock)
        attempt.granted += granted
        if !minted.isEmpty || !granted.isEmpty {
            attempt.storing += 1
            actions.append(.store(minted, grants: granted))
            for credential in minted {
                actions.append(.journal(self.mintedEvent(credential, of: attempt, wallClock)))
            }
            for grant in granted { actions.append(.journal(self.mintedEvent(grant, of: attempt, wallClock))) }
        }
        for change in written.accounts {
            actions.append(.journal(self.writtenEvent(change, of: attempt, wallClock)))
        }
        if !written.serverInstances.isEmpty { actions.append(.serversWritten(written.serverInstances)) }
        self.attempt = attempt
        var passed = CoAPRequest(.put, path: written.path.segments)
        if let format = written.contentFormat { passed.options.append(.contentFormat, uint: UInt32(format)) }
        passed.payload = written.payload
        self.passToDevice(id, passed, isFinish: false, into: &actions)
    }

    /// Leave to register for each relayed server whose account goes out without a key; once in a bootstrap (T30).
    private func grants(for accounts: [AccountChange], of attempt: Attempt, wallClock: Int64) -> [PlainGrant] {
        accounts.compactMap { account in
            guard account.after.securityMode == SecurityMode.noSec.name, let server = account.server,
                let shortServerID = account.shortServerID,
                !attempt.granted.contains(where: {
                    $0.key.server == server && $0.shortServerID == shortServerID && $0.written == account.written
                }),
                self.configuration.servers.contains(where: { $0.name == server && $0.relay != nil })
            else { return nil }
            return PlainGrant.mint(
                for: self.subject.record, endpoint: attempt.endpoint, server: server, shortServerID: shortServerID,
                written: account.written, at: wallClock
            )
        }
    }

    // MARK: - Finish

    private mutating func finish(
        _ id: MessageLayer.RequestID, wallClock: Int64, into actions: inout [Action]
    ) {
        guard self.attempt?.mayFinish == true else {
            // The server may correct what was refused and finish again; until then the device must not.
            actions.append(.answerUpstream(id, CoAPResponse(.notAcceptable)))
            return
        }
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
        let credentials = self.attempt?.published(.one, under: self.configuration) ?? []
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
        actions.append(.restore(attempt.published(.one, under: self.configuration)))
    }

    private func commit(_ attempt: Attempt, into actions: inout [Action]) {
        for keys in GatewayConfiguration.KeysPerEndpoint.allCases {
            let credentials = attempt.published(keys, under: self.configuration)
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

    private mutating func passToDevice(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, isFinish: Bool, into actions: inout [Action]
    ) {
        let isWrite = request.code == .put
        self.attempt?.step = .running(
            Attempt.Operation(request: id, isFinish: isFinish, isWrite: isWrite, stage: .atDevice)
        )
        actions.append(.requestDevice(request))
    }

    /// The device has answered the command that is under way.
    package mutating func deviceAnswered(
        _ response: CoAPResponse, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard case .running(.some(let operation))? = self.attempt?.step, operation.isAtDevice else { return }
        self.attempt?.timeline.answered(response.code, bytes: response.payload.count, at: wallClock)
        actions.append(.answerUpstream(operation.request, Self.passed(response)))
        if response.contentFormat == ContentFormat.linkFormat.rawValue,
            let answer = EnablerVersion.hasPriorities(String(decoding: response.payload, as: UTF8.self))
        {
            self.attempt?.rewriter.hasPriorities = answer
        }
        if operation.isFinish && response.code == .changed {
            if let order = self.attempt?.rewriter.secureFirst {
                self.attempt?.detail.append(.init("secure-first", .text(order.rawValue)))
            }
            actions.append(.releaseLease(.clean))
            self.tellTimeline(wallClock)
            self.journal(.bootstrapFinished, wallClock, into: &actions)
            if let attempt = self.endAttempt() { self.commit(attempt, into: &actions) }
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
            if let attempt = self.attempt { self.restore(attempt, into: &actions) }
            self.attempt?.isPublished = false
        }
        self.continueWithHeld(now: now, wallClock: wallClock, into: &actions)
    }

    /// The device did not answer, or refused the message itself.
    package mutating func deviceFailed(
        _ failure: MessageLayer.Failure, wallClock: Int64, into actions: inout [Action]
    ) {
        guard case .running(.some(let operation))? = self.attempt?.step, operation.isAtDevice else { return }
        self.attempt?.timeline.failed(failure, at: wallClock)
        // The first message without an acknowledgement stops the flow (spec 4.7).
        actions.append(.answerUpstream(operation.request, UpstreamAnswer.response(to: failure)))
        self.attempt?.step = .running(nil)
        let isUnreachable = failure == .unacknowledged || failure == .noResponse
        self.fail(
            isUnreachable ? .deviceUnreachable : .deviceRefused, releasing: .parked, wallClock: wallClock,
            into: &actions
        )
    }

    private mutating func continueWithHeld(
        now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.step = .running(nil)
        while case .running(.none)? = self.attempt?.step, let next = self.attempt?.takeFirstHeld() {
            self.upstreamRequested(next.id, next.request, now: now, wallClock: wallClock, into: &actions)
        }
    }

    /// What the server may know of the device's answer: its code, its format and its body.
    private static func passed(_ response: CoAPResponse) -> CoAPResponse {
        var passed = CoAPResponse(response.code)
        if let format = response.options.uint(.contentFormat) { passed.options.append(.contentFormat, uint: format) }
        passed.payload = response.payload
        return passed
    }
}
