internal import CoAP
internal import Timing

/// Bodies in blocks on the bootstrap leg (RFC 7959): the message layers on both sides see blocks, what decides in between
/// sees whole bodies. Sizes change with the rewriting, so the blocks of one side are never those of the other.
///
/// No timer runs for a transfer. Each message has its own, and each block that passes counts as a sign of life.
extension DeviceSessions {
    func makeBlocks() -> BootstrapBlocks {
        var limits = BlockLimits()
        limits.body = self.configuration.limits.body
        limits.lifetime = self.configuration.upstreamTransmission.exchangeLifetime
        return BootstrapBlocks(
            server: BlockReceiver(blockSize: self.configuration.upstreamTransmission.blockSize, limits: limits)
        )
    }

    /// A request of the bootstrap server: a whole one goes on, a block is answered here.
    static func receive(
        _ request: CoAPRequest, _ id: MessageLayer.RequestID, fromServerOf session: DeviceSession, _ work: inout Work
    ) {
        switch session.blocks?.server.receive(id, request, now: work.now) {
        case .whole(let whole):
            session.bootstrap?.upstreamRequested(
                id, whole, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
            )
        case .answer(let answer):
            session.bootstrap?.blockPassed(now: work.now)
            if answer.code == .continue, request.code == .put, answer.options.uint(.block1).map({ $0 >> 4 }) == 0 {
                session.bootstrap?.upstreamBodyBegan(request)
            }
            if answer.code == .requestEntityTooLarge {
                session.bootstrap?.upstreamBodyRefused(wallClock: work.wallClock, into: &work.bootstrap)
            }
            work.bootstrap.append(.answerUpstream(id, answer))
        case nil: work.bootstrap.append(.answerUpstream(id, CoAPResponse(.gatewayTimeout)))
        }
    }

    /// Sends a command of the server to the device, in blocks if it is larger than those of this leg.
    func requestDevice(_ request: CoAPRequest, of session: DeviceSession, _ work: inout Work) {
        var blocks = BlockSender(
            request, blockSize: self.configuration.deviceTransmission.blockSize,
            maximumBody: self.configuration.limits.body, requestTag: session.requestTag
        )
        session.deviceExchange = session.layer.send(blocks.start(), now: work.now, into: &work.events)
        session.blocks?.device = blocks
    }

    /// The device's answer to the command that is under way, or to a block of it.
    func deviceAnswered(_ response: CoAPResponse, of session: DeviceSession, _ work: inout Work) {
        session.deviceExchange = nil
        let whole: CoAPResponse
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
            // What the device sent cannot be used (RFC 7252, section 5.7.1). The server hears so; the bootstrap goes on.
            whole = CoAPResponse(.badGateway)
        case nil: whole = response
        }
        session.bootstrap?.deviceAnswered(whole, now: work.now, wallClock: work.wallClock, into: &work.bootstrap)
    }
}

/// The transfers of one lease. A class, so that the many sessions without a bootstrap do not carry the room for it.
///
/// Owned by its ``DeviceSession``, on the same loop.
final class BootstrapBlocks {
    /// Bodies from and to the bootstrap server.
    var server: BlockReceiver
    /// The device's request at the server, when its answer may come in blocks.
    var upstream: BlockSender?
    /// The command at the device on its way there, and the answer on its way back.
    var device: BlockSender?

    init(server: BlockReceiver) { self.server = server }
}

extension DeviceSession {
    /// The command at the device is over. A device may still hold the first blocks of one that was given up; from then on
    /// the next ones say that they are others (RFC 9175, section 3.4).
    func endTransfer(isComplete: Bool) {
        if !isComplete, self.blocks?.device?.isSplit == true {
            self.requestTag = max(1, (self.requestTag ?? 0) &+ 1)
        }
        self.blocks?.device = nil
    }

    /// The lease is over, and with it everything that is under way.
    func dropBlocks() {
        self.endTransfer(isComplete: false)
        self.blocks = nil
    }
}
