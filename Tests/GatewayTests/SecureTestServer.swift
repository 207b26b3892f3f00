import CoAP
import DTLS
import Foundation
import Secrets
import Timing

@testable import Gateway

/// A DTLS server of a test: our own server sessions behind a plain socket. It does nothing by itself: whoever asks for
/// the next message turns it.
actor SecureTestServer {
    private let context: DTLSContext
    private let socket: TestSocket
    /// What a thread of its own receives, so that a server that waits takes no thread from others.
    private var datagrams: AsyncStream<(bytes: [UInt8], from: PeerAddress)>.Iterator
    private var cookies = CookieGate(now: .now)
    private var sessions: [PeerAddress: DTLSSession] = [:]
    private var keys: [PSKIdentity: Secret]
    /// Datagrams that are lost on their way to the server.
    private var losses: Int

    nonisolated let address: PeerAddress
    /// Handshakes that succeeded, with the identity that was shown.
    private(set) var established: [(peer: PeerAddress, identity: PSKIdentity?)] = []
    /// ClientHellos, each of them.
    private(set) var hellos = 0
    /// Peers that said good-bye.
    private(set) var closed: [PeerAddress] = []

    init(keys: [PreSharedKey], losing losses: Int = 0) throws {
        self.socket = try TestSocket()
        self.address = self.socket.address
        self.context = try DTLSContext(role: .server, configuration: DTLSConfiguration())
        self.keys = Dictionary(uniqueKeysWithValues: keys.map { ($0.identity, $0.key) })
        self.losses = losses
        let (stream, continuation) = AsyncStream<(bytes: [UInt8], from: PeerAddress)>.makeStream()
        self.datagrams = stream.makeAsyncIterator()
        let socket = self.socket
        Thread.detachNewThread {
            while let datagram = try? socket.receiveNow(flags: 0) { continuation.yield(datagram) }
            continuation.finish()
        }
    }

    private func receive() async throws -> (bytes: [UInt8], from: PeerAddress) {
        var datagrams = self.datagrams
        guard let datagram = await datagrams.next(isolation: self) else { throw CancellationError() }
        self.datagrams = datagrams
        return datagram
    }

    /// The next message over any session, handshakes and ends aside.
    func nextMessage() async throws -> (message: CoAPMessage, from: PeerAddress) {
        while true {
            let (bytes, peer) = try await self.receive()
            if let message = self.take(bytes, from: peer) { return (message, peer) }
        }
    }

    /// Turns the server until `condition` holds.
    func turn(until condition: @Sendable (isolated SecureTestServer) -> Bool) async throws {
        while !condition(self) {
            let (bytes, peer) = try await self.receive()
            _ = self.take(bytes, from: peer)
        }
    }

    private func take(_ bytes: [UInt8], from peer: PeerAddress) -> CoAPMessage? {
        if self.losses > 0 {
            self.losses -= 1
            return nil
        }
        return bytes.withUnsafeBytes { datagram in
            if DTLSSession.isClientHello(datagram) {
                self.hello(datagram, from: peer)
                return nil
            }
            guard let session = self.sessions[peer] else { return nil }
            var outcome = session.receive(datagram, now: .now)
            if case .keyNeeded(let identity) = outcome {
                outcome = session.provide(key: self.keys[identity], now: .now)
            }
            self.drain(session, to: peer)
            switch outcome {
            case .established: self.established.append((peer, session.identity))
            case .closed(.closedByPeer):
                self.closed.append(peer)
                self.sessions[peer] = nil
            case .closed: self.sessions[peer] = nil
            case .nothing, .keyNeeded: break
            }
            var message: CoAPMessage?
            while session.read({ message = try? CoAPCodec.decode($0) }) {}
            return message
        }
    }

    private func hello(_ datagram: UnsafeRawBufferPointer, from peer: PeerAddress) {
        let address = DTLSPeer(high: peer.high, low: peer.low, port: peer.port)
        var reply: [UInt8] = []
        self.hellos += 1
        switch self.cookies.examine(datagram, from: address, now: .now, reply: &reply) {
        case .reply: self.socket.send(reply, to: peer)
        case .accept:
            guard
                let session = try? DTLSSession(
                    accepting: datagram, from: address, cookies: self.cookies, context: self.context, now: .now)
            else { return }
            self.sessions[peer] = session
            self.drain(session, to: peer)
        case .drop: break
        }
    }

    private func drain(_ session: DTLSSession, to peer: PeerAddress) {
        session.drainOutput { self.socket.send(Array($0), to: peer) }
    }

    func send(_ message: [UInt8], to peer: PeerAddress) throws {
        guard let session = self.sessions[peer] else { return }
        try message.withUnsafeBytes { try session.send($0) }
        self.drain(session, to: peer)
    }

    func answer(_ message: CoAPMessage, _ code: CoAPCode, to peer: PeerAddress) throws {
        let answer = CoAPMessage(
            type: .acknowledgement, code: code, messageID: message.messageID, token: message.token)
        try self.send(CoAPCodec.encode(answer), to: peer)
    }

    /// As a server that was started again: it knows nobody.
    func forgetAll() { self.sessions = [:] }

    /// Says good-bye to everybody.
    func closeAll() {
        for (peer, session) in self.sessions {
            session.close()
            self.drain(session, to: peer)
        }
        self.sessions = [:]
    }

    /// A fatal alert in clear, as one sends it that knows no session (RFC 5246, section 7.2): internal_error.
    func alert(_ peer: PeerAddress) {
        self.socket.send([21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 80], to: peer)
    }
}
