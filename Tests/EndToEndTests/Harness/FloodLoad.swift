internal import Dispatch
internal import Foundation
internal import Synchronization

/// Sends datagrams from many sources, as many as it can or at a given rate, until it is stopped.
final class FloodLoad: Sendable {
    enum Kind: String, Sendable {
        /// First hellos, which cost the gateway a cookie each.
        case hellos
        /// Hellos with a good cookie, which cost it a handshake each.
        case handshakes
        /// Bootstrap-Requests over the plain port.
        case requests
    }

    private static let threads = 2
    /// Datagrams of one source in a row.
    private static let batch = 16

    let kind: Kind
    private let counts = Mutex<[Int]>([])
    private let isStopped = Atomic(false)
    private let running = DispatchGroup()

    /// - Parameters:
    ///   - sources: Addresses of 127.0.0.0/8, a port each.
    ///   - rate: Datagrams a second; nil: as many as it can.
    ///   - cookies: Hellos with a cookie that each source has ready.
    init(_ kind: Kind, at gateway: Gateway, sources: Int, rate: Double? = nil, cookies: Int = 4, seed: UInt64) throws {
        self.kind = kind
        var generator = SeededGenerator(seed: seed)
        var groups: [[Source]] = Array(repeating: [], count: Self.threads)
        for number in 0..<sources {
            let socket = try UDPSocket(from: "127.\(210 + number / 40_000).\(number / 200 % 200).\(1 + number % 200)")
            let datagrams = Self.datagrams(kind, of: socket, at: gateway, cookies, &generator)
            groups[number % Self.threads].append(Source(socket, datagrams))
        }
        let port = kind == .requests ? gateway.plainPort : gateway.securePort
        for group in groups {
            let box = Group(group)
            self.running.enter()
            Thread.detachNewThread {
                self.run(box.sources, gateway.address, port, rate.map { $0 / Double(Self.threads) })
            }
        }
    }

    /// Ends it, and says how many datagrams have left.
    func stop() -> Int {
        self.isStopped.store(true, ordering: .relaxed)
        self.running.wait()
        return self.counts.withLock { $0.reduce(0, +) }
    }

    private final class Source: Sendable {
        let socket: UDPSocket
        let datagrams: [[UInt8]]

        init(_ socket: consuming UDPSocket, _ datagrams: [[UInt8]]) {
            self.socket = socket
            self.datagrams = datagrams
        }
    }

    private struct Group: Sendable {
        let sources: [Source]
        init(_ sources: [Source]) { self.sources = sources }
    }

    private static func datagrams(
        _ kind: Kind, of socket: borrowing UDPSocket, at gateway: Gateway, _ cookies: Int,
        _ generator: inout SeededGenerator
    ) -> [[UInt8]] {
        switch kind {
        case .hellos: return (0..<Self.batch).map { _ in ClientHello(using: &generator).datagram() }
        case .requests:
            return (0..<Self.batch).map { number in
                [0x44, 0x02, UInt8.random(in: 0...255, using: &generator), UInt8(number), 1, 2, 3, 4, 0xB2]
                    + "bs".utf8 + [0x46] + "ep=abc".utf8
            }
        case .handshakes:
            return (0..<cookies).compactMap { _ in
                let hello = ClientHello(using: &generator)
                for _ in 0..<20 {
                    socket.send(hello.datagram(), to: gateway.address, port: gateway.securePort)
                    let cookie = socket.receive(milliseconds: 500).flatMap { ClientHello.cookie(of: $0) }
                    if let cookie { return hello.datagram(cookie: cookie) }
                }
                return nil
            }
        }
    }

    private func run(_ sources: [Source], _ address: String, _ port: UInt16, _ rate: Double?) {
        let began = ContinuousClock.now
        var sent = 0
        while !self.isStopped.load(ordering: .relaxed) {
            for source in sources where !self.isStopped.load(ordering: .relaxed) {
                source.socket.send(source.datagrams, to: address, port: port)
                sent += source.datagrams.count
                guard let rate else { continue }
                let ahead = ContinuousClock.now.duration(to: began + .seconds(Double(sent) / rate))
                if ahead > .milliseconds(1) { Thread.sleep(forTimeInterval: ahead / .seconds(1)) }
            }
        }
        self.counts.withLock { $0.append(sent) }
        self.running.leave()
    }
}
