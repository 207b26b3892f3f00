internal import CCoAPStack
internal import Glibc

/// The other end of one libcoap session: a device for the servers, a server for the device.
struct Peer: Hashable, CustomStringConvertible {
    fileprivate let session: OpaquePointer

    /// Address and port, `127.0.0.1:40000`.
    var description: String { Self.text(coap_session_get_addr_remote(self.session)) }

    /// The port that this end sends from.
    var localPort: UInt16 {
        coap_session_get_addr_local(self.session).map { UInt16(bigEndian: $0.pointee.addr.sin.sin_port) } ?? 0
    }

    /// What the client of a DTLS session has shown itself with; nil on a plain one.
    var identity: String? {
        guard let identity = coap_session_get_psk_identity(self.session) else { return nil }
        let bytes = UnsafeBufferPointer(start: identity.pointee.s, count: identity.pointee.length)
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    private static func text(_ address: UnsafePointer<coap_address_t>?) -> String {
        guard let address else { return "unknown" }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
            let length = coap_print_addr(address, buffer.baseAddress, buffer.count)
            return String(decoding: buffer.prefix(length), as: UTF8.self)
        }
    }
}

/// Why a message, or the whole connection, came to nothing.
enum DeliveryFailure: String {
    case notAcknowledged = "not acknowledged"
    case reset
    case notDeliverable = "not deliverable"
    case unreachable
    case handshake = "handshake failed"
    case closed = "connection closed"
}

/// What a role does with what arrives. libcoap calls it from ``CoAPStack/process(milliseconds:)``, on the one thread.
protocol CoAPRole: AnyObject {
    /// The answer to `request`; nil keeps silent, as if the answer had been lost.
    func answer(_ request: Message, from peer: Peer) -> Message?
    /// A response, or a notification, came. False resets it.
    func received(_ response: Message, from peer: Peer) -> Bool
    /// The request with this token has failed; without a token, the whole connection has.
    func failed(token: [UInt8]?, to peer: Peer, _ failure: DeliveryFailure)
    /// The handshake with `peer` has succeeded.
    func connected(to peer: Peer)
}

/// One libcoap context with its sockets. It belongs to one thread.
final class CoAPStack {
    private let context: OpaquePointer
    fileprivate weak var role: (any CoAPRole)?
    fileprivate var dropsAnswers = false

    init(role: any CoAPRole, verbose: Bool) throws {
        coap_startup()
        // libcoap would write to standard output, which belongs to the events.
        coap_set_log_handler { level, message in
            guard let message, level <= coap_get_log_level() else { return }
            _ = write(STDERR_FILENO, message, strlen(message))
        }
        coap_set_log_level(verbose ? LOG_INFO : LOG_EMERG)
        guard let context = coap_new_context(nil) else {
            throw ArgumentProblem(description: "libcoap has no memory for a context")
        }
        self.context = context
        self.role = role
        coap_set_app_data(context, Unmanaged.passUnretained(self).toOpaque())
        // Sessions of devices stay, so that a server can speak to them however long they rest.
        coap_context_set_session_timeout(context, 30 * 24 * 3600)
        coap_register_response_handler(context, handleResponse)
        coap_register_nack_handler(context, handleFailure)
        coap_register_event_handler(context, handleEvent)
        guard let resource = coap_resource_unknown_init(handleRequest) else {
            throw ArgumentProblem(description: "libcoap has no memory for a resource")
        }
        for method in [
            COAP_REQUEST_GET, COAP_REQUEST_POST, COAP_REQUEST_DELETE, COAP_REQUEST_FETCH, COAP_REQUEST_IPATCH,
        ] {
            coap_register_request_handler(resource, method, handleRequest)
        }
        coap_add_resource(context, resource)
    }

    /// Which library does the DTLS of this program.
    static var dtlsLibrary: String {
        switch coap_get_tls_library_version().map({ $0.pointee.type }) {
        case COAP_TLS_LIBRARY_OPENSSL: "OpenSSL"
        case COAP_TLS_LIBRARY_GNUTLS: "GnuTLS"
        default: "none"
        }
    }

    deinit {
        coap_free_context(self.context)
        coap_cleanup()
    }

    /// From now on bodies come and go in blocks where they have to, and libcoap puts them together (RFC 7959).
    func carryBlocks() {
        coap_context_set_block_mode(self.context, UInt8(COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY))
    }

    /// Opens a socket, over DTLS when there are keys, and returns its port.
    func listen(on address: SocketAddress, keys: ServerKeys? = nil) throws -> UInt16 {
        if let keys, !keys.serve(self.context) {
            throw ArgumentProblem(description: "libcoap takes no keys: it was built without DTLS")
        }
        var address = address
        try address.choosePort()
        var storage = address.storage
        let transport = keys == nil ? COAP_PROTO_UDP : COAP_PROTO_DTLS
        guard let endpoint = coap_new_endpoint(self.context, &storage, transport),
            let text = coap_endpoint_str(endpoint).map({ String(cString: $0) }),
            let port = text.split(separator: " ").first?.split(separator: ":").last.flatMap({ UInt16($0) })
        else {
            throw ArgumentProblem(
                description: "cannot listen there: the address is taken, or it is not of this machine"
            )
        }
        return port
    }

    /// Opens a socket of its own to a server. With `credentials` the handshake begins at once.
    ///
    /// - Parameter local: where to send from; port 0 lets the system choose.
    func connect(
        to server: SocketAddress,
        from local: SocketAddress?,
        credentials: (identity: [UInt8], key: [UInt8])?
    ) throws -> Peer {
        var server = server.storage
        var local = local?.storage
        let session = withUnsafeMutablePointer(to: &server) { server in
            withOptionalPointer(to: &local) { local in
                self.session(to: server, from: local, credentials: credentials)
            }
        }
        guard let session else { throw ArgumentProblem(description: "cannot open a socket to the server") }
        return Peer(session: session)
    }

    private func session(
        to server: UnsafePointer<coap_address_t>,
        from local: UnsafePointer<coap_address_t>?,
        credentials: (identity: [UInt8], key: [UInt8])?
    ) -> OpaquePointer? {
        guard let credentials else { return coap_new_client_session(self.context, local, server, COAP_PROTO_UDP) }
        return credentials.identity.withUnsafeBufferPointer { identity in
            credentials.key.withUnsafeBufferPointer { key in
                var setup = coap_dtls_cpsk_t()
                setup.version = UInt8(COAP_DTLS_CPSK_SETUP_VERSION)
                setup.psk_info.identity = coap_bin_const_t(length: identity.count, s: identity.baseAddress)
                setup.psk_info.key = coap_bin_const_t(length: key.count, s: key.baseAddress)
                return coap_new_client_session_psk2(self.context, local, server, COAP_PROTO_DTLS, &setup)
            }
        }
    }

    /// Sends `message` to `peer` and returns the token that it went out with, or nil when it could not be sent.
    @discardableResult
    func send(_ message: Message, to peer: Peer) -> [UInt8]? {
        let type = message.isConfirmable ? COAP_MESSAGE_CON : COAP_MESSAGE_NON
        let code = coap_pdu_code_t(rawValue: UInt32(message.code.rawValue))
        guard let pdu = coap_new_pdu(type, code, peer.session) else { return nil }
        var token = message.token
        if token.isEmpty {
            token = [UInt8](repeating: 0, count: 8)
            var length = token.count
            coap_session_new_token(peer.session, &length, &token)
            token.removeLast(token.count - length)
        }
        guard coap_add_token(pdu, token.count, token) != 0, message.writeRequest(into: pdu, peer.session) else {
            coap_delete_pdu(pdu)
            return nil
        }
        return coap_send(peer.session, pdu) == COAP_INVALID_MID ? nil : token
    }

    /// How long this end waits for an acknowledgement before it repeats a message, and how often it repeats it.
    func setRetransmission(milliseconds: Int, limit: UInt16, for peer: Peer) {
        let timeout = coap_fixed_point_t(
            integer_part: UInt16(clamping: milliseconds / 1000),
            fractional_part: UInt16(milliseconds % 1000)
        )
        coap_session_set_ack_timeout(peer.session, timeout)
        coap_session_set_max_retransmit(peer.session, limit)
    }

    /// Closes the connection to `peer`, over DTLS with a close_notify. `peer` must not be used again.
    func close(_ peer: Peer) { coap_session_release(peer.session) }

    /// From now on nothing leaves this end, whatever arrives.
    func fallSilent() { coap_debug_set_packet_loss("100%") }

    /// Waits at most so long for something to happen and handles it.
    func process(milliseconds: UInt32) {
        coap_io_process(self.context, max(1, milliseconds))
        if self.dropsAnswers {
            self.dropsAnswers = false
            coap_debug_set_packet_loss("0%")
        }
    }

    fileprivate static func of(_ session: OpaquePointer?) -> (stack: CoAPStack, peer: Peer)? {
        guard let session, let context = coap_session_get_context(session), let data = coap_get_app_data(context) else {
            return nil
        }
        return (Unmanaged<CoAPStack>.fromOpaque(data).takeUnretainedValue(), Peer(session: session))
    }
}

/// `body` with a pointer to the value, or with nil when there is none.
private func withOptionalPointer<Value, R>(to value: inout Value?, _ body: (UnsafePointer<Value>?) -> R) -> R {
    guard var some = value else { return body(nil) }
    return withUnsafePointer(to: &some) { body($0) }
}

// MARK: - What libcoap calls

private func handleRequest(
    resource: OpaquePointer?,
    session: OpaquePointer?,
    request: OpaquePointer?,
    query: UnsafePointer<coap_string_t>?,
    response: OpaquePointer?
) {
    guard let (stack, peer) = CoAPStack.of(session), let request, let response else { return }
    guard let answer = stack.role?.answer(Message(parsed: request), from: peer) else {
        // libcoap always answers a confirmable request. So this one answer is lost on its way out.
        stack.dropsAnswers = true
        coap_debug_set_packet_loss("100%")
        return
    }
    coap_pdu_set_code(response, coap_pdu_code_t(rawValue: UInt32(answer.code.rawValue)))
    let isWritten =
        if answer.payload.count > Message.wholeBody {
            answer.writeInBlocks(into: response, to: request, of: resource, query, session)
        } else {
            answer.write(into: response)
        }
    if !isWritten { coap_pdu_set_code(response, COAP_RESPONSE_CODE_INTERNAL_ERROR) }
}

private func handleResponse(
    session: OpaquePointer?,
    _: OpaquePointer?,
    received: OpaquePointer?,
    _: coap_mid_t
) -> coap_response_t {
    guard let (stack, peer) = CoAPStack.of(session), let received else { return COAP_RESPONSE_FAIL }
    let isExpected = stack.role?.received(Message(parsed: received), from: peer) ?? false
    return isExpected ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL
}

private func handleFailure(
    session: OpaquePointer?,
    sent: OpaquePointer?,
    reason: coap_nack_reason_t,
    _: coap_mid_t
) {
    guard let (stack, peer) = CoAPStack.of(session) else { return }
    let failure: DeliveryFailure =
        switch reason {
        case COAP_NACK_TOO_MANY_RETRIES: .notAcknowledged
        case COAP_NACK_RST: .reset
        case COAP_NACK_TLS_FAILED: .handshake
        case COAP_NACK_ICMP_ISSUE: .unreachable
        default: .notDeliverable
        }
    stack.role?.failed(token: sent.map { Message(parsed: $0).token }, to: peer, failure)
}

private func handleEvent(session: OpaquePointer?, event: coap_event_t) -> Int32 {
    guard let (stack, peer) = CoAPStack.of(session) else { return 0 }
    switch event {
    case COAP_EVENT_DTLS_CONNECTED: stack.role?.connected(to: peer)
    case COAP_EVENT_DTLS_ERROR: stack.role?.failed(token: nil, to: peer, .handshake)
    case COAP_EVENT_DTLS_CLOSED: stack.role?.failed(token: nil, to: peer, .closed)
    default: break
    }
    return 0
}
