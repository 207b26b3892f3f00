internal import CoAP
internal import Timing

/// Bootstrap packs: larger than most messages in either direction, so they travel in blocks (RFC 7959, T40).
extension DeviceSessions {
    /// `GET /bspack` of a device, or the request for the next block of its answer.
    func requestPack(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, of session: DeviceSession, _ work: inout Work
    ) {
        guard session.bootstrap?.offersPacks == true else {
            session.layer.respond(to: id, CoAPResponse(.notImplemented), now: work.now, into: &work.events)
            return
        }
        let packs = session.packs ?? PackTransfer(self.makePackReceiver())
        session.packs = packs
        let answer: CoAPResponse
        switch packs.device.receive(id, request, now: work.now) {
        case .answer(let block): answer = block
        case .whole(let whole):
            let block = request.options.first(.block2).flatMap { BlockOption($0) }
            if let block, block.num > 0 {
                // The rest of a pack that is no longer there. Another one would have other keys.
                answer = packs.device.respond(to: id, CoAPResponse(.requestEntityIncomplete), now: work.now)
            } else if self.isDraining {
                answer = packs.device.respond(to: id, DeviceAnswer.response(to: .shutdown), now: work.now)
            } else if self.turnsAwayBootstrap(of: session) {
                self.counters.drop("overload")
                answer = packs.device.respond(to: id, DeviceAnswer.response(to: .limit), now: work.now)
            } else {
                self.counters.bootstrapsRequested += 1
                session.bootstrapRequestedAt = work.wallClock
                session.bootstrap?.packRequested(
                    id, whole, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
                )
                return
            }
        }
        session.layer.respond(to: id, answer, now: work.now, into: &work.events)
    }

    private func makePackReceiver() -> BlockReceiver {
        var limits = BlockLimits()
        limits.body = self.configuration.limits.body
        limits.lifetime = self.configuration.deviceTransmission.exchangeLifetime
        return BlockReceiver(blockSize: self.configuration.deviceTransmission.blockSize, limits: limits)
    }

    /// Sends the device's request upstream; the answer to one for a pack may come in blocks.
    func requestUpstream(_ request: CoAPRequest, on lease: LeaseID, of session: DeviceSession, now: Instant) {
        session.blocks?.upstream = nil
        if request.code == .get {
            session.blocks?.upstream = BlockSender(
                request, blockSize: self.configuration.upstreamTransmission.blockSize,
                maximumBody: self.configuration.limits.body
            )
        }
        session.upstreamExchange = self.send(request, on: lease, now: now)
    }

    /// The server's answer to the device's request, or a block of it.
    func upstreamAnswered(_ response: CoAPResponse, of session: DeviceSession, _ work: inout Work) {
        let whole: CoAPResponse
        switch session.blocks?.upstream?.receive(response) {
        case .send(let next):
            guard let lease = session.lease else { return }
            session.bootstrap?.blockPassed(now: work.now)
            session.upstreamExchange = self.send(next, on: lease, now: work.now)
            return
        case .finished(let answer): whole = answer
        case .failed:
            session.blocks?.upstream = nil
            session.bootstrap?.upstreamFailed(.unusableResponse, wallClock: work.wallClock, into: &work.bootstrap)
            return
        case nil: whole = response
        }
        session.blocks?.upstream = nil
        session.bootstrap?.upstreamAnswered(whole, now: work.now, wallClock: work.wallClock, into: &work.bootstrap)
    }
}

/// The packs that one device is being served. A class, so that the many sessions that never ask for one do not carry the
/// room for it.
///
/// Owned by its ``DeviceSession``, on the same loop.
final class PackTransfer {
    var device: BlockReceiver

    init(_ device: BlockReceiver) { self.device = device }
}
