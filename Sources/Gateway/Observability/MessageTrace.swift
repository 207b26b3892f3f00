internal import CoAP
package import Logging

/// Writes the messages of chosen SIMs into the log, on both legs: who sent what kind of message, never what is in it.
///
/// A value that the device sessions and the upstream pool hold a copy of each. ``isEmpty`` is all that a message costs
/// while nobody looks.
package struct MessageTrace: Sendable {
    package enum Direction: String, Sendable {
        case fromDevice = "from device"
        case toDevice = "to device"
        case fromServer = "from server"
        case toServer = "to server"
    }

    private let logger: Logger
    private let wallClock: @Sendable () -> Int64
    /// When each SIM's trace ends: wall clock, microseconds since 1970.
    private(set) var ends: [String: Int64] = [:]

    /// Entries have the level debug and are written whatever the level of `logger` is.
    package init(logger: Logger, wallClock: @escaping @Sendable () -> Int64) {
        var logger = logger
        logger.logLevel = min(logger.logLevel, .debug)
        self.logger = logger
        self.wallClock = wallClock
    }

    package var isEmpty: Bool { self.ends.isEmpty }

    /// When the first of them ends.
    package var firstEnd: Int64? { self.ends.values.min() }

    /// Follows a SIM until then; nil: no more. An end that is over is none.
    package mutating func follow(_ iccid: String, until end: Int64?) {
        self.ends[iccid] = end.flatMap { $0 > self.wallClock() ? $0 : nil }
    }

    /// Drops those whose time is over.
    package mutating func prune() {
        let now = self.wallClock()
        self.ends = self.ends.filter { $0.value > now }
    }

    /// Writes one message of a session of this SIM, if it is followed. `far` is the other end.
    package func note(
        _ message: UnsafeRawBufferPointer, _ direction: Direction, iccid: String, far: @autoclosure () -> String
    ) {
        guard let end = self.ends[iccid], end > self.wallClock() else { return }
        var metadata = Self.describe(message)
        metadata["iccid"] = "\(iccid)"
        metadata["direction"] = "\(direction.rawValue)"
        metadata["peer"] = "\(far())"
        self.logger.debug("message", metadata: metadata)
    }

    /// Type, code, message ID, length of the token, path and size. Neither token, query nor payload: they may tell more
    /// than a log may hold.
    static func describe(_ bytes: UnsafeRawBufferPointer) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["size": "\(bytes.count)"]
        let message: CoAPMessage
        do throws(CoAPFormatError) {
            message = try CoAPCodec.decode(bytes)
        } catch {
            metadata["malformed"] = "\(error.reason)"
            return metadata
        }
        metadata["type"] = "\(message.type.name)"
        metadata["code"] = "\(message.code.description)"
        metadata["mid"] = "\(message.messageID)"
        metadata["token-length"] = "\(message.token.count)"
        metadata["payload"] = "\(message.payload.count)"
        if message.code.isRequest, let path = message.options.strings(.uriPath) {
            metadata["path"] = "/\(path.joined(separator: "/"))"
        }
        return metadata
    }
}

extension CoAPMessageType {
    fileprivate var name: String {
        switch self {
        case .confirmable: "CON"
        case .nonConfirmable: "NON"
        case .acknowledgement: "ACK"
        case .reset: "RST"
        }
    }
}
