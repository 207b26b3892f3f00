internal import Secrets
internal import Timing

/// What a session needs to know while its handshake is under way, and nothing of it afterwards.
final class Handshake {
    /// How far the server has come towards the key.
    enum KeyStage {
        /// No ClientKeyExchange yet, or only pieces of it.
        case awaitingIdentity
        /// The owner of the session looks the key up. Nothing is fed and nothing is sent.
        case lookingUp(KeyExchange)
        /// The library has the key, right or not.
        case provided
    }

    let expiry: Instant
    var timer: RetransmissionTimer
    /// Received and sent ones.
    var datagrams = 0
    /// Whether a flight went out since this was last reset.
    var hasSent = false
    /// Clear records get numbers of our own before the library sees them: theirs are not authentic, and one forged high
    /// number would make it deaf for all that follow. A server starts with the number of the hello, which the library
    /// takes for its ServerHello: a lower one would look like a replay of the HelloVerifyRequest (RFC 6347, section
    /// 4.2.1).
    var clearSequence: UInt64 = 0
    /// The last clear alert, for the diagnosis: it never reaches the library, since anyone can forge it.
    var peerAlert: UInt8?

    // Server: the client's last flight, which may come in any order.
    var keyStage = KeyStage.awaitingIdentity
    var key: Secret?
    /// The number that the ClientKeyExchange must have: the hello's plus one.
    var keyExchangeSequence: UInt16 = 0
    var assembler = MessageAssembler()
    var hasChangeCipherSpec = false
    var hasFedChangeCipherSpec = false
    var held: HeldRecords
    /// A protected handshake record was fed: if the handshake does not complete, the keys differ.
    var hasFedFinished = false
    /// Known before the end: why the handshake cannot succeed.
    var fault: DTLSCloseReason?

    init(configuration: DTLSConfiguration, now: Instant) {
        self.expiry = now + configuration.handshakeTimeout
        self.timer = RetransmissionTimer(initial: configuration.initialRetransmission, now: now)
        self.held = HeldRecords(limit: configuration.heldRecords, byteLimit: configuration.heldBytes)
    }

    /// Why the handshake has to end now: the most that is known, else `fallback`.
    func reason(orElse fallback: DTLSCloseReason) -> DTLSCloseReason {
        if let fault = self.fault { return fault }
        if case .lookingUp = self.keyStage { return .keyLookupTimeout }
        return self.hasFedFinished ? .wrongKey : fallback
    }
}

/// Records that cannot be opened yet, in the order in which they came. Bounded; what is too much is dropped, because
/// the peer repeats it.
struct HeldRecords {
    private let limit: Int
    private let byteLimit: Int
    private var records: [[UInt8]] = []
    private var byteCount = 0

    init(limit: Int, byteLimit: Int) {
        self.limit = limit
        self.byteLimit = byteLimit
    }

    mutating func add(_ record: UnsafeRawBufferPointer) {
        guard self.records.count < self.limit, self.byteCount + record.count <= self.byteLimit else { return }
        self.records.append(Array(record))
        self.byteCount += record.count
    }

    /// All of them; none are left.
    mutating func takeAll() -> [[UInt8]] {
        defer {
            self.records = []
            self.byteCount = 0
        }
        return self.records
    }
}

/// What a server keeps after the handshake until the client has proved that it is through as well.
struct LastFlight {
    /// A client that repeats its flight more often than this has another problem.
    private static let maximumRepeats = 10

    let expiry: Instant
    private let spacing: Duration
    private var lastSent: Instant
    private var repeats = 0

    init(configuration: DTLSConfiguration, now: Instant) {
        self.expiry = now + configuration.lastFlightLifetime
        self.spacing = configuration.initialRetransmission / 2
        self.lastSent = now
    }

    /// Whether the flight may go out again now; counts it if so.
    mutating func mayRepeat(now: Instant) -> Bool {
        guard self.repeats < Self.maximumRepeats, self.lastSent.duration(to: now) >= self.spacing else { return false }
        self.lastSent = now
        self.repeats += 1
        return true
    }
}
