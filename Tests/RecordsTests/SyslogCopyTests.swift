import Foundation
import Gateway
import Glibc
import Testing

@testable import Records

@Suite("The copy of the audit journal to syslog")
struct SyslogCopyTests {
    let scratch = Scratch()

    /// A datagram socket on loopback, and its port.
    private func receiver() throws -> (Int32, UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(descriptor >= 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound)
        return (descriptor, UInt16(bigEndian: name.sin_port))
    }

    /// What has arrived; the sender has sent before anybody asks.
    private func messages(_ descriptor: Int32) -> [String] {
        var messages: [String] = []
        var buffer = [UInt8](repeating: 0, count: 70_000)
        while case let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT)), count > 0 {
            messages.append(String(decoding: buffer[..<count], as: UTF8.self))
        }
        return messages
    }

    @Test("Each record is one message of RFC 5424 with the journal's line in it, over UDP")
    func udp() async throws {
        let (descriptor, port) = try self.receiver()
        defer { close(descriptor) }
        let address = try #require(IPAddress("127.0.0.1"))
        let journal = try self.scratch.journal { $0.syslog = SyslogTarget(.udp(address, port), facility: 20) }
        journal.record([
            event(1), AuditEvent(.bootstrapRefused, time: 1_700_000_000_000_002, cause: .suspended),
        ])
        try await journal.flush()
        journal.close()
        let messages = self.messages(descriptor)
        let lines = try self.scratch.lines()
        #expect(messages.count == 3 && lines.count == 3)
        let process = ProcessInfo.processInfo.processIdentifier
        #expect(
            messages.first
                == "<166>1 2023-11-14T22:13:20.000001Z edge-1 bootgate \(process) bootstrap.requested - \(lines[0])")
        #expect(messages[1].hasPrefix("<164>1 "))
        #expect(messages.map { $0.suffix(40) } == lines.map { $0.suffix(40) })
    }

    @Test(
        "A receiver on a local socket that is away costs the journal nothing; what it missed is counted, and it may return"
    )
    func unix() async throws {
        let path = self.scratch.path + "/log"
        let journal = try self.scratch.journal { $0.syslog = SyslogTarget(.unix(path), facility: 4) }
        journal.record([event(1), event(2)])
        try await journal.synchronize()
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let isBound = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        try #require(isBound)
        journal.record([event(3)])
        try await journal.synchronize()
        // A checkpoint may follow it.
        #expect(self.messages(descriptor).count { $0.contains(" bootstrap.requested ") } == 1)
        journal.close()
        let lost = try #require(
            try JournalReader(state: self.scratch.state).tail(9).first { $0.event == "journal.copy-lost" })
        #expect(lost.detail["records"]?.integer == 2)
        #expect(lost.detail["to"]?.text == "unix:\(path)")
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("A receiver that reads nothing blocks nobody")
    func full() async throws {
        let path = self.scratch.path + "/log"
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        _ = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        let journal = try self.scratch.journal { $0.syslog = SyslogTarget(.unix(path), facility: 4) }
        journal.record((0..<2_000).map { event($0) })
        try await journal.flush()
        journal.close()
        let lost = try JournalReader(state: self.scratch.state).tail(9).first { $0.event == "journal.copy-lost" }
        let received = self.messages(descriptor).count
        // The record of the loss and the last checkpoint are sent after the count.
        #expect((lost?.detail["records"]?.integer ?? 0) + Int64(received) >= 2_001)
        #expect(lost != nil && received > 0)
        #expect(try self.scratch.verify().isIntact)
    }
}
