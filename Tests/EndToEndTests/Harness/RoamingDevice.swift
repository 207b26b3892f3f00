internal import CoAP
internal import DTLS
internal import Foundation
internal import Secrets
internal import Timing

/// A device over DTLS with a connection ID. The test says what it asks for and what it answers.
///
/// Its DTLS is the gateway's own: the independent clients here know no connection IDs.
final class RoamingDevice {
    /// The messages that it has sent, repeated answers included.
    private(set) var sent = 0

    private let socket: UDPSocket
    private let gateway: (address: String, port: UInt16)
    private let dtls: DTLSSession
    private let deadline: Instant
    private var inbox: [CoAPMessage] = []
    private var lastID: UInt16 = 0
    /// What it has answered to each request of the server, by message ID: a repetition gets the same again.
    private var answers: [UInt16: CoAPMessage] = [:]
    private var seen: Set<UInt16> = []

    /// Shakes hands.
    ///
    /// - Parameters:
    ///   - key: In hexadecimal.
    ///   - patience: How long all that it does may take.
    init(
        _ identity: String, key: String, from address: String, to gateway: (address: String, port: UInt16),
        patience: Duration = .seconds(30)
    ) throws {
        guard let identity = PSKIdentity(identity), let key = Secret(hexadecimal: key) else {
            throw Unexpected("no identity or no key")
        }
        self.socket = try UDPSocket(from: address)
        self.gateway = gateway
        self.deadline = .now + patience
        var configuration = DTLSConfiguration()
        configuration.suites = [.pskAES128CCM8]
        self.dtls = try DTLSSession(
            connectingAs: identity, key: key, context: try DTLSContext(role: .client, configuration: configuration),
            connectionIDs: .serversOnly, now: .now)
        self.flush()
        while self.dtls.phase != .established { try self.receive() }
    }

    /// With the account that a device of the simulator has left in a file.
    convenience init(
        account file: String, from address: String, to gateway: (address: String, port: UInt16),
        patience: Duration = .seconds(30)
    ) throws {
        // Lines: URI, identity and key in hexadecimal, short server ID.
        let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
        guard lines.count == 4, let identity = Secret(hexadecimal: lines[1]) else {
            throw Unexpected("\(file) is no account")
        }
        let name = identity.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        try self.init(name, key: String(lines[2]), from: address, to: gateway, patience: patience)
    }

    /// Sends a request and waits for its response; requests of the server wait meanwhile.
    ///
    /// - Parameter repetition: After what time without a response the message goes out again; nil: not at all.
    func request(
        _ code: CoAPCode, _ path: [String], query: [String] = [], repetition: Duration? = nil
    ) throws -> CoAPMessage {
        self.lastID += 1
        let token = CoAPToken(UInt64(self.lastID))
        let request = CoAPRequest(code, path: path, query: query)
        let message = CoAPMessage(
            type: .confirmable, code: code, messageID: self.lastID, token: token, options: request.options)
        try self.send(message)
        var repeated = Instant.now
        while true {
            if let repetition, repeated + repetition <= .now {
                try self.send(message)
                repeated = .now
            }
            if let index = self.inbox.firstIndex(where: { $0.code.isResponse && $0.token == token }) {
                let response = self.inbox.remove(at: index)
                if response.type == .confirmable {
                    try self.send(CoAPMessage(type: .acknowledgement, code: .empty, messageID: response.messageID))
                }
                return response
            }
            try self.receive()
        }
    }

    /// The next request of the server.
    func next() throws -> CoAPMessage {
        while true {
            if let index = self.inbox.firstIndex(where: \.code.isRequest) { return self.inbox.remove(at: index) }
            try self.receive()
        }
    }

    func answer(_ code: CoAPCode, to request: CoAPMessage, format: UInt16? = nil, _ text: String = "") throws {
        var options = CoAPOptions()
        options.set(.contentFormat, uint: format.map(UInt32.init))
        let answer = CoAPMessage(
            type: .acknowledgement, code: code, messageID: request.messageID, token: request.token, options: options,
            payload: Array(text.utf8))
        self.answers[request.messageID] = answer
        try self.send(answer)
    }

    private func send(_ message: CoAPMessage) throws {
        self.sent += 1
        try CoAPCodec.encode(message).withUnsafeBytes { try self.dtls.send($0) }
        self.flush()
    }

    private func flush() {
        self.dtls.drainOutput { self.socket.send(Array($0), to: self.gateway.address, port: self.gateway.port) }
    }

    private func receive() throws {
        guard Instant.now < self.deadline else { throw Unexpected("the roaming device waits in vain") }
        guard let bytes = self.socket.receive(milliseconds: 100) else { return }
        _ = bytes.withUnsafeBytes { self.dtls.receive($0, now: .now) }
        self.flush()
        var messages: [CoAPMessage] = []
        while self.dtls.read({ record in
            if let message = try? CoAPCodec.decode(record) { messages.append(message) }
        }) {}
        for message in messages {
            if message.code.isRequest, !self.seen.insert(message.messageID).inserted {
                // The answer was lost, or is still to come.
                if let answer = self.answers[message.messageID] { try self.send(answer) }
            } else {
                self.inbox.append(message)
            }
        }
    }
}
