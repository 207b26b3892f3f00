import CoAP
import Timing

@testable import Gateway

/// From messages to the decisions of a bootstrap, and back; as `DeviceSessions` does it.
extension SimulatedGateway {
    struct Work {
        let now: Instant
        let wallClock: Int64
        var events: [MessageLayer.Event] = []
        var actions: [BootstrapSession.Action] = []
    }

    /// Runs `body`, then everything that follows from it.
    func work(for association: Association, _ body: (inout Work) -> Void) {
        var work = Work(now: self.world.now, wallClock: self.world.wallClock)
        body(&work)
        var (event, action) = (0, 0)
        while true {
            if event < work.events.count {
                event += 1
                self.handle(work.events[event - 1], of: association, &work)
            } else if action < work.actions.count {
                action += 1
                self.perform(work.actions[action - 1], for: association, &work)
            } else {
                break
            }
        }
        self.schedule(association)
        self.check(association)
    }

    private func handle(_ event: MessageLayer.Event, of association: Association, _ work: inout Work) {
        let session = association.session
        switch event {
        case .transmit(let bytes): self.send(bytes, to: association)
        case .request(let id, let request):
            guard request.code == .post, request.uriPath == ["bs"] else {
                session.layer.respond(to: id, CoAPResponse(.notFound), now: work.now, into: &work.events)
                return
            }
            self.world.note("session \(session.id) is asked for a bootstrap")
            association.record.begun += 1
            session.bootstrap?.deviceRequested(
                id, request, now: work.now, wallClock: work.wallClock, into: &work.actions
            )
        case .response(let exchange, let response) where session.deviceExchange == exchange:
            self.checkAnswer(response, of: association)
            self.deviceAnswered(response, of: session, &work)
        case .failed(let exchange, let failure) where session.deviceExchange == exchange:
            session.deviceExchange = nil
            session.endTransfer(isComplete: false)
            session.bootstrap?.deviceFailed(
                failure, now: work.now, wallClock: work.wallClock, into: &work.actions
            )
        default: break
        }
    }

    private func send(_ bytes: [UInt8], to association: Association) {
        guard !association.session.isClosed else { return }
        self.checkMessage(bytes, to: association)
        let device = self.devices[association.address.device]
        if device.arrival == .plain {
            device.carry(.plain(bytes))
        } else {
            association.sent += 1
            device.carry(.record(association: association.number, sequence: association.sent, bytes))
        }
    }

    private func deviceAnswered(_ response: CoAPResponse, of session: DeviceSession, _ work: inout Work) {
        session.deviceExchange = nil
        var whole = response
        switch session.blocks?.device?.receive(response) {
        case .send(let next):
            session.bootstrap?.blockPassed(now: work.now)
            session.deviceExchange = session.layer.send(next, now: work.now, into: &work.events)
            return
        case .finished(let answer):
            session.endTransfer(isComplete: answer.code.isSuccess)
            whole = answer
        case .failed:
            session.endTransfer(isComplete: false)
            whole = CoAPResponse(.badGateway)
        case nil: break
        }
        session.bootstrap?.deviceAnswered(whole, now: work.now, wallClock: work.wallClock, into: &work.actions)
    }

    // MARK: - Actions

    private func perform(_ action: BootstrapSession.Action, for association: Association, _ work: inout Work) {
        let session = association.session
        switch action {
        case .acquireLease(let upstreams):
            let owner = LeaseOwner(iccid: session.record.iccid, leg: .bootstrap)
            switch self.pool.acquire(for: owner, upstreams) {
            case .granted(let lease, _, let upstream):
                self.take(lease, for: association)
                session.bootstrap?.leaseGranted(
                    self.pool.upstreams[upstream], wallClock: work.wallClock, into: &work.actions
                )
            case .waiting(let lease): self.take(lease, for: association)
            case .refused(let cause, _):
                session.bootstrap?.leaseRefused(cause, wallClock: work.wallClock, into: &work.actions)
            }
        case .releaseLease(let end):
            guard let lease = session.lease else { return }
            self.forgetLease(of: association)
            self.pool.release(lease, end)
        case .requestUpstream(let request):
            guard let lease = session.lease else { return }
            self.checkAsking(request, of: association)
            session.blocks?.server.removeAll()
            session.upstreamExchange = self.pool.send(request, on: lease)
        case .cancelUpstreamRequest:
            guard let lease = session.lease, let exchange = session.upstreamExchange else { return }
            session.upstreamExchange = nil
            self.pool.cancel(exchange, on: lease)
        case .answerUpstream(let id, let response):
            let answer = session.blocks?.server.respond(to: id, response, now: work.now) ?? response
            if let lease = session.lease { self.pool.respond(to: id, answer, on: lease) }
        case .requestDevice(let request):
            var blocks = BlockSender(
                request, blockSize: self.configuration.deviceTransmission.blockSize,
                maximumBody: self.configuration.limits.body, requestTag: session.requestTag
            )
            session.deviceExchange = session.layer.send(blocks.start(), now: work.now, into: &work.events)
            session.blocks?.device = blocks
        case .cancelDeviceRequest:
            if let exchange = session.deviceExchange { session.layer.cancel(exchange) }
            session.deviceExchange = nil
            session.endTransfer(isComplete: false)
        case .answerDevice(let id, let response):
            session.layer.respond(to: id, response, now: work.now, into: &work.events)
        case .store(let credentials, let grants):
            association.record.minted += credentials.map(\.identity)
            association.record.grants += grants.map(\.id)
            self.queue(
                StoreOrder(
                    association: association, bootstrap: session.bootstrap?.number, credentials: credentials,
                    grants: grants
                )
            )
        case .discard(let identities, let grants):
            self.checkDiscard(identities, of: association)
            self.discarded.insert(session.record.iccid)
            self.discard(identities, grants: grants)
        case .ended(let cause):
            self.ended(cause, association)
            if cause == nil { self.discarded.remove(session.record.iccid) }
        case .remember(let place): session.record.bootstrapPlace = place
        case .publish, .restore, .commit, .serversWritten, .dropAnswer, .journal, .warn: break
        }
    }

    private func take(_ lease: LeaseID, for association: Association) {
        association.session.lease = lease
        association.session.blocks = BootstrapBlocks(
            server: BlockReceiver(blockSize: self.configuration.upstreamTransmission.blockSize)
        )
        self.byLease[lease] = association
    }

    private func forgetLease(of association: Association) {
        guard let lease = association.session.lease else { return }
        association.session.lease = nil
        association.session.dropBlocks()
        association.session.upstreamExchange = nil
        self.byLease[lease] = nil
    }

    // MARK: - News of the pool

    func take(_ news: SimulatedPool.News) {
        guard let association = self.byLease[news.lease] else { return }
        let session = association.session
        switch news.kind {
        case .refused, .broken: self.forgetLease(of: association)
        case .granted, .event: if self.pool.machine.socket(of: news.lease) == nil { return }
        }
        self.work(for: association) { work in
            switch news.kind {
            case .granted(let upstream):
                session.bootstrap?.leaseGranted(
                    self.pool.upstreams[upstream], wallClock: work.wallClock, into: &work.actions
                )
            case .refused(let cause):
                session.bootstrap?.leaseRefused(cause, wallClock: work.wallClock, into: &work.actions)
            case .broken(let cause):
                session.bootstrap?.leaseBroken(cause, wallClock: work.wallClock, into: &work.actions)
            case .event(let event, let meant): self.handle(event, meant: meant, upstreamOf: association, &work)
            }
        }
    }

    private func handle(
        _ event: MessageLayer.Event, meant: SimulatedServer.Address?, upstreamOf association: Association,
        _ work: inout Work
    ) {
        let session = association.session
        switch event {
        case .request(let id, let request):
            self.checkCommand(meant: meant, for: association)
            switch session.blocks?.server.receive(id, request, now: work.now) {
            case .whole(let whole):
                session.bootstrap?.upstreamRequested(
                    id, whole, now: work.now, wallClock: work.wallClock, into: &work.actions
                )
            case .answer(let answer):
                session.bootstrap?.blockPassed(now: work.now)
                work.actions.append(.answerUpstream(id, answer))
            case nil: work.actions.append(.answerUpstream(id, CoAPResponse(.gatewayTimeout)))
            }
        case .response(let exchange, let response) where session.upstreamExchange == exchange:
            session.upstreamExchange = nil
            session.bootstrap?.upstreamAnswered(
                response, now: work.now, wallClock: work.wallClock, into: &work.actions
            )
        case .failed(let exchange, let failure) where session.upstreamExchange == exchange:
            session.upstreamExchange = nil
            session.bootstrap?.upstreamFailed(failure, wallClock: work.wallClock, into: &work.actions)
        default: break
        }
    }
}
