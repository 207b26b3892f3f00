package import CoAP
internal import LwM2M
internal import Secrets
package import Timing

/// `GET /bspack`: a whole bootstrap in one answer (T40, spec 1.8).
///
/// It goes to servers that are said to know packs, and is 5.01 at once where none is; the device falls back to `POST /bs`, as
/// after every other error. No Finish follows a pack, so the moment at which it is handed to the device is the commit point:
/// its credentials are on disk by then and stay valid whatever the device makes of it, and so do the ones before until the
/// new ones are proven (T10, T39).
extension BootstrapSession {
    /// Whether any server is said to know packs.
    package var offersPacks: Bool { self.nextConfiguration.bootstrap.upstreams.contains(where: \.packs) }

    /// A new request for a pack. It supersedes a running bootstrap.
    package mutating func packRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        guard self.offersPacks else {
            actions.append(.answerDevice(id, CoAPResponse(.notImplemented)))
            return
        }
        guard request.accept.map(AccountRewriter.isPackFormat) ?? true else {
            actions.append(.answerDevice(id, CoAPResponse(.notAcceptable)))
            return
        }
        let mode = self.nextConfiguration.mode
        switch Gate.verdict(on: request, record: self.subject.record, arrival: self.subject.arrival, mode: mode) {
        case .refuse(let cause): self.refuse(id, DeviceAnswer.response(to: cause), cause, wallClock, into: &actions)
        case .refuseFormat:
            self.refuse(id, CoAPResponse(.unsupportedContentFormat), .unsupported, wallClock, into: &actions)
        case .watch(let endpoint, let query, let would):
            self.askForPack(
                id, endpoint: endpoint, query: query, accept: request.accept, now: now, wallClock: wallClock,
                into: &actions
            )
            if let would { self.wouldRefuse(would, wallClock: wallClock, into: &actions) }
        case .forward(let endpoint, _):
            // What the device says of its own account stays here: its numbers mean nothing upstream.
            let finding: BootstrapFinding?
            do throws(AccountRewriter.UnusableAnswer) { finding = try Self.ownAccount(in: request) } catch {
                self.refuse(id, CoAPResponse(.badRequest), .malformed, wallClock, into: &actions)
                return
            }
            self.askForPack(
                id, endpoint: endpoint, query: ["ep=\(endpoint)"], accept: request.accept, finding: finding, now: now,
                wallClock: wallClock, into: &actions
            )
        }
    }

    private mutating func askForPack(
        _ id: MessageLayer.RequestID, endpoint: String, query: [String], accept: UInt16?,
        finding: BootstrapFinding? = nil, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        var inherited = self.supersede(wallClock: wallClock, into: &actions)
        let upstreams = self.configuration.bootstrap.upstreams.filter(\.packs)
        if let upstream = inherited, !upstreams.contains(upstream) {
            actions.append(.releaseLease(.parked))
            inherited = nil
        }
        self.begin(id, endpoint: endpoint, query: query, upstreams: upstreams, now: now, wallClock: wallClock)
        self.attempt?.pack = .requested(accept: accept)
        self.attempt?.timeline.isForPack()
        actions.append(.journal(self.event(.bootstrapRequested, wallClock, endpoint: endpoint)))
        if let finding { self.learn(finding, wallClock: wallClock, into: &actions) }
        if let inherited {
            self.ask(inherited, wallClock: wallClock, into: &actions)
        } else {
            actions.append(.acquireLease(upstreams))
        }
    }

    /// `acc`: links to the instances that make up the device's bootstrap account.
    private static func ownAccount(in request: CoAPRequest) throws(AccountRewriter.UnusableAnswer) -> BootstrapFinding?
    {
        guard let parameter = request.uriQuery?.first(where: { $0.hasPrefix("acc=") }) else { return nil }
        let finding = BootstrapFinding(in: try AccountRewriter.links(Array(parameter.utf8.dropFirst(4))))
        // A list without object 0 says nothing about it.
        return finding == .none ? nil : finding
    }

    /// The server has answered with a pack, or refused to.
    mutating func packAnswered(
        _ response: CoAPResponse, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let request = self.attempt?.request else { return }
        guard response.code == .content else {
            let code = response.code.isSuccess ? CoAPCode.badGateway : response.code
            actions.append(.answerDevice(request, DeviceAnswer.response(to: .upstreamRefused, upstreamCode: code)))
            self.attempt?.detail = [.init("code", .text(response.code.description))]
            self.fail(.upstreamRefused, releasing: .parked, wallClock: wallClock, into: &actions)
            return
        }
        self.startTimer(now)
        self.journal(.bootstrapForwarded, wallClock, into: &actions)
        guard self.attempt?.witness == nil else {
            self.watchPack(response, wallClock: wallClock, into: &actions)
            self.publishBeforePack(wallClock: wallClock, into: &actions)
            return
        }
        do throws(RewriteRefusal) {
            let pack = try self.rewritten(response, wallClock: wallClock, into: &actions)
            var answer = CoAPResponse(.content, contentFormat: response.contentFormat)
            answer.payload = pack.payload
            self.attempt?.pack = .ready(answer)
            self.attempt?.step = .delivering
            if self.attempt?.storing == 0 { self.publishBeforePack(wallClock: wallClock, into: &actions) }
        } catch {
            actions.append(.answerDevice(request, CoAPResponse(.badGateway)))
            if let attempt = self.attempt {
                var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: error.cause)
                event.detail += [.init("path", .text("/bspack")), .init("reason", .text(error.message))]
                actions.append(.journal(event))
                actions.append(.warn(error.cause))
            }
            self.fail(error.cause, releasing: .parked, wallClock: wallClock, into: &actions)
        }
    }

    /// What was minted for it is on its way to the store.
    private mutating func rewritten(
        _ response: CoAPResponse, wallClock: Int64, into actions: inout [Action]
    ) throws(RewriteRefusal) -> RewrittenPack {
        guard let endpoint = self.attempt?.endpoint else { throw .broken("there is no bootstrap") }
        let (iccid, policy) = (self.subject.record.iccid, self.configuration.credentials)
        var minted: [OneTimeCredential] = []
        func mint(_ server: String, _ shortServerID: UInt16) -> (PSKIdentity, Secret) {
            let credential = OneTimeCredential.mint(
                for: iccid, endpoint: endpoint, server: server, shortServerID: shortServerID, policy: policy,
                at: wallClock
            )
            minted.append(credential)
            return (credential.identity, credential.key)
        }
        let result = try self.attempt?.rewriter.rewrite(
            pack: response.payload, contentFormat: response.contentFormat, mint: mint
        )
        guard let pack = result else { throw .broken("there is no bootstrap") }
        self.keep(minted, for: pack.accounts, wallClock: wallClock, into: &actions)
        if !pack.serverInstances.isEmpty { actions.append(.serversWritten(pack.serverInstances)) }
        return pack
    }

    // MARK: - From the store to the device

    /// The pack's credentials are stored and published where they can be at once, or `failure` says why not.
    mutating func packStored(_ failure: FailureCause?, wallClock: Int64, into actions: inout [Action]) {
        if let failure {
            self.failPack(failure, wallClock: wallClock, into: &actions)
        } else {
            self.publishBeforePack(wallClock: wallClock, into: &actions)
        }
    }

    private mutating func publishBeforePack(wallClock: Int64, into actions: inout [Action]) {
        let credentials = self.attempt?.published(.one, at: self.configuration.servers) ?? []
        guard !credentials.isEmpty else {
            self.deliverPack(wallClock: wallClock, into: &actions)
            return
        }
        self.attempt?.isPublished = true
        actions.append(.publish(credentials))
    }

    /// Servers with one key for each endpoint have taken the new ones, or `failure` says why not.
    mutating func packPublished(_ failure: FailureCause?, wallClock: Int64, into actions: inout [Action]) {
        if let failure {
            self.failPack(failure, wallClock: wallClock, into: &actions)
        } else {
            self.deliverPack(wallClock: wallClock, into: &actions)
        }
    }

    private mutating func failPack(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard let request = self.attempt?.request else { return }
        actions.append(.answerDevice(request, CoAPResponse(.internalServerError)))
        self.fail(cause, releasing: .parked, wallClock: wallClock, into: &actions)
    }

    private mutating func deliverPack(wallClock: Int64, into actions: inout [Action]) {
        guard let request = self.attempt?.request, case .ready(let answer)? = self.attempt?.pack else { return }
        self.attempt?.finishReachedDevice = true
        actions.append(.answerDevice(request, answer))
        self.attempt?.timeline.deviceHasAnswer(answer.code, at: wallClock)
        self.attempt?.detail.append(.init("pack", .boolean(true)))
        if self.attempt?.witness != nil { self.concludeWatch(wallClock: wallClock, into: &actions) }
        if let order = self.attempt?.rewriter.secureFirst {
            self.attempt?.detail.append(.init("secure-first", .text(order.rawValue)))
        }
        // The server has had its only say: nothing of this bootstrap can come later.
        actions.append(.releaseLease(.clean))
        self.tellTimeline(wallClock)
        self.journal(.bootstrapFinished, wallClock, into: &actions)
        if let attempt = self.endAttempt() { self.commit(attempt, into: &actions) }
        actions.append(.ended(nil))
    }

    private func refuse(
        _ id: MessageLayer.RequestID, _ answer: CoAPResponse, _ cause: FailureCause, _ wallClock: Int64,
        into actions: inout [Action]
    ) {
        actions.append(.answerDevice(id, answer))
        actions.append(.journal(self.event(.bootstrapRefused, wallClock, cause: cause)))
        actions.append(.ended(cause))
    }
}
