package import Gateway
internal import Glibc

/// Where a copy of each record goes as a syslog message.
package struct SyslogTarget: Sendable, Equatable {
    package enum Destination: Sendable, Equatable {
        case udp(IPAddress, UInt16)
        /// Path of a datagram socket, such as `/dev/log`.
        case unix(String)
    }

    package var destination: Destination
    /// Code of RFC 5424, 6.2.1: 16 is `local0`.
    package var facility: Int

    package init(_ destination: Destination, facility: Int) {
        self.destination = destination
        self.facility = facility
    }

    /// Names of the facilities in the order of their codes (RFC 5424, 6.2.1).
    package static let facilities = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
        "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ]

    var name: String {
        switch self.destination {
        case .udp(let address, let port): "udp://\(address.isIPv4 ? "\(address)" : "[\(address)]"):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}

/// Sends records that are written as syslog messages (RFC 5424), one datagram each: the line of the journal is the message,
/// the event its MSGID. Never waits: what the socket does not take at once is counted. Belongs to the journal's thread.
final class SyslogCopy {
    private let target: SyslogTarget
    private let hostname: [UInt8]
    private let process = Array(String(getpid()).utf8)
    private var descriptor: Int32 = -1
    private var message: [UInt8] = []
    /// Messages that nobody took since the last ``takeDropped()``, and why the last of them.
    private(set) var dropped: UInt64 = 0
    private(set) var reason = ""

    init(_ target: SyslogTarget, node: String) {
        self.target = target
        let name = node.utf8.filter { (0x21...0x7E).contains($0) }.prefix(255)
        self.hostname = name.isEmpty ? [UInt8(ascii: "-")] : Array(name)
    }

    deinit { if self.descriptor >= 0 { close(self.descriptor) } }

    /// - Parameter lines: whole lines of the journal, each with its line feed.
    func send(_ lines: UnsafeRawBufferPointer) {
        var rest = lines[...]
        while let end = rest.firstIndex(of: 0x0A) {
            self.sendLine(UnsafeRawBufferPointer(rebasing: rest[..<end]))
            rest = rest[(end + 1)...]
        }
    }

    /// What was dropped since the last call.
    func takeDropped() -> UInt64 {
        defer { self.dropped = 0 }
        return self.dropped
    }

    private func sendLine(_ line: UnsafeRawBufferPointer) {
        guard let fields = JournalFields(line) else { return }
        // Warning where something has a cause, else informational.
        let severity = fields.cause == nil ? 6 : 4
        self.message.removeAll(keepingCapacity: true)
        self.message += Array("<\(self.target.facility * 8 + severity)>1 ".utf8)
        self.message += fields.time
        self.message.append(0x20)
        self.message += self.hostname
        self.message += Array(" bootgate ".utf8)
        self.message += self.process
        self.message.append(0x20)
        self.message += fields.event.prefix(32)
        self.message += Array(" - ".utf8)
        self.message += line
        // A second try: the first may bring the error of an earlier message, or find a receiver that was started anew.
        var code = self.sendMessage()
        if code == ECONNREFUSED || code == ENOTCONN || code == ECONNRESET {
            if case .unix = self.target.destination { self.disconnect() }
            code = self.sendMessage()
        }
        guard code != 0 else { return }
        self.dropped &+= 1
        self.reason = errorText(code)
        if code != EAGAIN && code != EMSGSIZE && code != ENOBUFS { self.disconnect() }
    }

    /// 0, or why not.
    private func sendMessage() -> Int32 {
        if self.descriptor < 0 {
            let code = self.connect()
            if code != 0 { return code }
        }
        let descriptor = self.descriptor
        let count = self.message.withUnsafeBytes {
            Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
        }
        return count >= 0 ? 0 : errno
    }

    private func disconnect() {
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = -1
    }

    private func connect() -> Int32 {
        let family: Int32 =
            switch self.target.destination {
            case .unix: AF_UNIX
            case .udp(let address, _): address.isIPv4 ? AF_INET : AF_INET6
            }
        let kind = Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        self.descriptor = socket(family, kind, 0)
        guard self.descriptor >= 0 else { return errno }
        let result: Int32
        switch self.target.destination {
        case .unix(let path):
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            let bytes = Array(path.utf8)
            let hasRoom = withUnsafeMutableBytes(of: &name.sun_path) { room in
                guard bytes.count < room.count else { return false }
                room.copyBytes(from: bytes)
                return true
            }
            guard hasRoom else {
                self.disconnect()
                return ENAMETOOLONG
            }
            result = Self.connect(self.descriptor, &name)
        case .udp(let address, let port) where address.isIPv4:
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = UInt32(truncatingIfNeeded: address.low).bigEndian
            result = Self.connect(self.descriptor, &name)
        case .udp(let address, let port):
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin6_addr) { room in
                room.storeBytes(of: address.high.bigEndian, as: UInt64.self)
                room.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            result = Self.connect(self.descriptor, &name)
        }
        guard result == 0 else {
            let code = errno
            self.disconnect()
            return code
        }
        return 0
    }

    private static func connect<Name>(_ descriptor: Int32, _ name: inout Name) -> Int32 {
        withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Name>.size))
            }
        }
    }
}
