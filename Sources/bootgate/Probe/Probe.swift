internal import CoAP
internal import LwM2M
internal import Secrets
internal import Timing

/// One device's life, shortened: handshake, bootstrap and, on demand, registration and its end. It leaves nothing behind
/// but what the gateway keeps of every device: journal records and a one-time credential.
struct Probe {
    let target: ServerURI
    let identity: PSKIdentity?
    let key: Secret?
    let endpoint: String
    let registers: Bool
    let deadline: Instant

    /// Milliseconds of each step that was completed, in order.
    private(set) var timings: [(step: ProbeFailure.Step, milliseconds: Double)] = []
    private var started = Instant.now

    init(
        target: ServerURI, identity: PSKIdentity?, key: Secret?, endpoint: String, registers: Bool, deadline: Instant
    ) {
        self.target = target
        self.identity = identity
        self.key = key
        self.endpoint = endpoint
        self.registers = registers
        self.deadline = deadline
    }

    /// Throws ``ProbeFailure`` at the first step that does not succeed.
    mutating func run() throws {
        let account = try self.bootstrap()
        guard self.registers else { return }
        try self.register(with: account)
    }

    // MARK: - Steps

    private mutating func bootstrap() throws -> SecurityAccount? {
        let connection = try self.connect(
            to: self.target, self.identity.flatMap { identity in self.key.map { (identity, $0) } }, .handshake
        )
        var accounts = ProbeAccounts()
        connection.onRequest = { accounts.answer($0) }
        self.started = .now
        let request = CoAPRequest(.post, path: ["bs"], query: ["ep=\(self.endpoint)"])
        let response = try self.exchange(request, over: connection, .bootstrap)
        guard response.code == .changed else { throw Self.refused(response, .bootstrap) }
        guard connection.wait({ accounts.isFinished }) else {
            let unread = accounts.refusals.isEmpty ? "" : "; not read: " + accounts.refusals.joined(separator: ", ")
            throw ProbeFailure(
                .bootstrap, "the bootstrap began and was not finished\(unread)",
                remedy: "bootgate audit show of this SIM tells what the bootstrap server did"
            )
        }
        // The answer to Finish is out; a moment for its repetition is the gateway's business.
        self.completed(.bootstrap)
        if let refusal = accounts.refusals.first {
            throw ProbeFailure(
                .bootstrap, "an account could not be read: \(refusal)",
                remedy: "the probe reads TLV; other formats reach real devices all the same"
            )
        }
        return accounts.server
    }

    private mutating func register(with account: SecurityAccount?) throws {
        guard let account else {
            throw ProbeFailure(
                .connect, "the bootstrap wrote no LwM2M server", remedy: "check the bootstrap server's configuration"
            )
        }
        guard let uri = try? ServerURI(account.uri) else {
            throw ProbeFailure(.connect, "the server's URI cannot be read", remedy: "check servers.*.device")
        }
        var credentials: (PSKIdentity, Secret)?
        if uri.isSecure {
            guard account.securityMode == .preSharedKey, let bytes = account.publicKeyOrIdentity,
                let identity = PSKIdentity(bytes), let key = account.secretKey
            else {
                throw ProbeFailure(
                    .connect, "\(uri) comes without identity and key", remedy: "the probe connects with PSK only"
                )
            }
            credentials = (identity, key)
        }
        let connection = try self.connect(to: uri, credentials, .connect)
        self.started = .now
        let request = CoAPRequest(
            .post, path: ["rd"], query: ["ep=\(self.endpoint)", "lt=60", "lwm2m=1.0", "b=U"],
            contentFormat: ContentFormat.linkFormat.rawValue, payload: Array("</1/0>,</3/0>".utf8)
        )
        let response = try self.exchange(request, over: connection, .register)
        guard response.code == .created else { throw Self.refused(response, .register) }
        self.completed(.register)
        guard let location = response.locationPath, !location.isEmpty else {
            throw ProbeFailure(
                .register, "registered without a location", remedy: "the LwM2M server must send Location-Path"
            )
        }
        self.started = .now
        let end = try self.exchange(CoAPRequest(.delete, path: location), over: connection, .deregister)
        guard end.code == .deleted else { throw Self.refused(end, .deregister) }
        self.completed(.deregister)
    }

    // MARK: - Parts

    private mutating func connect(
        to uri: ServerURI, _ credentials: (identity: PSKIdentity, key: Secret)?, _ step: ProbeFailure.Step
    ) throws -> ProbeConnection {
        self.started = .now
        if uri.isSecure && credentials == nil {
            throw ProbeFailure(step, "\(uri) needs an identity and a key", remedy: "give --identity and --key-file")
        }
        let connection = try ProbeConnection(
            to: uri, credentials: uri.isSecure ? credentials : nil, step: step, deadline: self.deadline
        )
        guard connection.shakeHands() else { throw Self.silence(connection, uri, step) }
        if uri.isSecure { self.completed(step) }
        return connection
    }

    private func exchange(
        _ request: CoAPRequest, over connection: ProbeConnection, _ step: ProbeFailure.Step
    ) throws -> CoAPResponse {
        do {
            return try connection.exchange(request)
        } catch {
            if connection.isRefused { throw Self.silence(connection, self.target, step) }
            let cause =
                switch error.failure {
                case .reset: "the request was reset"
                case .unusableResponse: "the response has an option that a device does not understand"
                case .unacknowledged, .noResponse, .overloaded, nil: "no answer"
                }
            throw ProbeFailure(
                step, cause, remedy: "the gateway's log and journal name the cause, if the request reached it"
            )
        }
    }

    private mutating func completed(_ step: ProbeFailure.Step) {
        self.timings.append((step, Double(self.started.nanoseconds(to: .now)) / 1_000_000))
    }

    // MARK: - What failures mean

    private static func silence(
        _ connection: ProbeConnection, _ uri: ServerURI, _ step: ProbeFailure.Step
    ) -> ProbeFailure {
        if connection.isRefused {
            return ProbeFailure(step, "nobody listens at \(uri)", remedy: "is the gateway running there?")
        }
        guard connection.hasHeard else {
            return ProbeFailure(step, "no answer from \(uri)", remedy: "check the address and packet filters")
        }
        return ProbeFailure(
            step, "\(uri) answers, but the handshake does not end",
            remedy: "identity unknown, key wrong, or SIM retired: bootgate audit tail tells which",
            status: .notPermitted
        )
    }

    private static func refused(_ response: CoAPResponse, _ step: ProbeFailure.Step) -> ProbeFailure {
        let remedy =
            switch response.code {
            case .badRequest: "SIM suspended, or another endpoint name than the record's: see bootgate audit show"
            case .forbidden: "the key was replaced or has expired; the device has to bootstrap first"
            case .serviceUnavailable: "the server behind the gateway is down, or the gateway sheds load"
            case .gatewayTimeout: "the server behind the gateway does not answer"
            default: "bootgate audit show of this SIM tells more"
            }
        return ProbeFailure(
            step, "answered \(response.code)", remedy: remedy,
            status: response.code.codeClass == 4 ? .notPermitted : .unavailable
        )
    }
}
