package import CoAP
internal import LwM2M

/// The steps of one bootstrap: when each began, how long it took, how much was carried, what came of it, and how often a
/// message had to be repeated. It becomes one field of the record of the end, so that the journal keeps it at the price of
/// no record more.
///
/// A value of bounded size without texts: those are made once, at the end. Times are wall clock, microseconds since 1970, as
/// in the rest of the journal, and are kept as milliseconds since the device's request; a clock that is set back meanwhile
/// stands still here.
package struct Timeline: Sendable {
    /// What comes after so many steps is only counted.
    package static let maximumSteps = 64

    package enum Kind: UInt8, Sendable {
        /// `POST /bs` of the device, until it has its answer.
        case request
        /// `POST /bs` at a bootstrap server.
        case upstream
        /// `GET /bspack` of the device, until it has its answer, and the same at a bootstrap server.
        case packRequest, upstreamPack
        /// The gateway's own question where the device has its bootstrap account.
        case ownDiscover
        case discover, read, write, delete, finish
        /// A request of the server that is no operation of a bootstrap.
        case other

        var name: String {
            switch self {
            case .request: "request"
            case .upstream: "upstream"
            case .packRequest: "pack-request"
            case .upstreamPack: "upstream-pack"
            case .ownDiscover: "own-discover"
            case .discover: "discover"
            case .read: "read"
            case .write: "write"
            case .delete: "delete"
            case .finish: "finish"
            case .other: "other"
            }
        }
    }

    /// Small, because a dozen of them are allocated for each bootstrap.
    package struct Step: Sendable, Equatable {
        fileprivate(set) var kind: Kind
        /// Which of the servers that may be asked; nil: none, or one beyond 255.
        var server: UInt8?
        var path: LwM2MPath?
        /// Milliseconds since the device's request.
        let begun: UInt32
        /// When what it had to wait for was there, commits and publications before Finish; `open` until then.
        var released = Self.open
        /// `open` while it is under way.
        var ended = Self.open
        /// Bytes of bodies, request and answer together.
        var bytes: UInt32 = 0
        /// Blocks of bodies that passed meanwhile, on both legs (RFC 7959).
        var blocks: UInt16 = 0
        /// Messages of the gateway that went out again.
        var retransmissions: UInt16 = 0
        /// Messages of the device that came again.
        var repetitions: UInt16 = 0
        var code: CoAPCode?
        var failure: MessageLayer.Failure?

        /// No moment: 49 days after the start.
        static let open = UInt32.max

        var isOpen: Bool { self.ended == Self.open }
    }

    private let start: Int64
    private var latest: UInt32 = 0
    private(set) var steps: [Step] = []
    private(set) var uncounted = 0
    /// Blocks that came before the request to which they belong was whole.
    private var earlyBlocks: UInt16 = 0

    /// Begins with the device's request.
    package init(at time: Int64) {
        self.start = time
        // More than an ordinary bootstrap has.
        self.steps.reserveCapacity(12)
        self.steps.append(Step(kind: .request, begun: 0))
    }

    // MARK: - What happens

    /// The device has asked for a pack.
    package mutating func isForPack() { self.steps[0].kind = .packRequest }

    /// The request goes to a bootstrap server, by its place in the list of those that may be asked.
    package mutating func asks(server: Int, at time: Int64) {
        let kind: Kind = self.steps[0].kind == .packRequest ? .upstreamPack : .upstream
        self.add(kind, at: time) { $0.server = UInt8(exactly: server) }
    }

    /// The bootstrap server has answered, a pack with `bytes` of body.
    package mutating func serverAnswered(_ code: CoAPCode, bytes: Int = 0, at time: Int64) {
        self.answered(code, bytes: bytes, at: time)
    }

    /// The device has its answer to its request.
    package mutating func deviceHasAnswer(_ code: CoAPCode, at time: Int64) {
        guard self.steps[0].isOpen else { return }
        self.steps[0].ended = self.offset(time)
        self.steps[0].code = code
    }

    /// The gateway asks the device where its bootstrap account is.
    package mutating func asksForAccount(at time: Int64) {
        self.add(.ownDiscover, at: time) { $0.path = LwM2MPath(0) }
    }

    /// A command of the server is looked at; `bytes` of its body.
    package mutating func begins(_ operation: BootstrapOperation, bytes: Int, at time: Int64) {
        let (kind, path): (Kind, LwM2MPath?) =
            switch operation {
            case .discover(let path): (.discover, path)
            case .read(let path): (.read, path)
            case .write(let path): (.write, path)
            case .delete(let path): (.delete, path)
            case .finish: (.finish, nil)
            case .request, .other, .refused: (.other, nil)
            }
        let blocks = self.earlyBlocks
        self.earlyBlocks = 0
        self.add(kind, at: time) { step in
            step.path = path
            step.bytes = UInt32(clamping: bytes)
            step.blocks = blocks
        }
    }

    /// The open step has its answer, `bytes` of body with it.
    package mutating func answered(_ code: CoAPCode, bytes: Int, at time: Int64) {
        let now = self.offset(time)
        self.withOpenStep { step in
            step.ended = now
            step.code = code
            step.bytes = UInt32(clamping: Int(step.bytes) + bytes)
        }
    }

    /// The open step got no answer.
    package mutating func failed(_ failure: MessageLayer.Failure, at time: Int64) {
        let now = self.offset(time)
        self.withOpenStep { step in
            step.ended = now
            step.failure = failure
        }
    }

    /// What the open step waited for in the gateway is there.
    package mutating func released(at time: Int64) {
        let now = self.offset(time)
        self.withOpenStep { $0.released = now }
    }

    package mutating func blockPassed() {
        if !self.withOpenStep({ $0.blocks &+= 1 }) { self.earlyBlocks &+= 1 }
    }

    /// A message of the gateway went out again, on either leg.
    package mutating func retransmitted() { self.withOpenStep { $0.retransmissions &+= 1 } }

    /// The device has sent a message again. Before it has the answer to its request that is what it repeats.
    package mutating func deviceRepeated() {
        if self.steps[0].isOpen {
            self.steps[0].repetitions &+= 1
        } else {
            self.withOpenStep { $0.repetitions &+= 1 }
        }
    }

    private mutating func add(_ kind: Kind, at time: Int64, _ body: (inout Step) -> Void) {
        guard self.steps.count < Self.maximumSteps else {
            self.uncounted += 1
            return
        }
        var step = Step(kind: kind, begun: self.offset(time))
        body(&step)
        self.steps.append(step)
    }

    /// The step that is under way is the last one; while steps are only counted, there is none.
    @discardableResult
    private mutating func withOpenStep(_ body: (inout Step) -> Void) -> Bool {
        let last = self.steps.count - 1
        guard last > 0, self.uncounted == 0, self.steps[last].isOpen else { return false }
        body(&self.steps[last])
        return true
    }

    /// Milliseconds since the start, never less than what was told before.
    private mutating func offset(_ time: Int64) -> UInt32 {
        let (microseconds, overflow) = time.subtractingReportingOverflow(self.start)
        let milliseconds = UInt32(clamping: overflow ? 0 : microseconds / 1000)
        self.latest = max(self.latest, min(milliseconds, Step.open - 1))
        return self.latest
    }

    // MARK: - What is told

    /// The fields for the record of the end: `took`, `timeline`, and `more-steps` where some were only counted. Times and
    /// durations are milliseconds; a step without `took` was still under way.
    ///
    /// - Parameter servers: the names of the servers that may be asked; told only where there are several.
    package mutating func fields(at time: Int64, servers: [String]) -> [AuditEvent.Field] {
        var fields: [AuditEvent.Field] = [
            .init("took", .integer(Int64(self.offset(time)))),
            .init("timeline", .steps(self.steps, servers: servers)),
        ]
        if self.uncounted > 0 { fields.append(.init("more-steps", .integer(Int64(self.uncounted)))) }
        return fields
    }
}

extension Timeline.Step {
    /// What is told of a step.
    package enum Member {
        case text(String)
        case integer(Int64)
    }

    /// Calls `body` with the name and the value of what there is to tell, in the journal's order; the first two always.
    ///
    /// For whoever writes the journal, on its thread: what a dozen steps would be as ``AuditEvent/Field``s costs more
    /// than the rest of an ordinary record (measured: 5 of 255 us of a bootstrap).
    ///
    /// - Parameter servers: the names of the servers that may be asked.
    package func tell(_ servers: [String], _ body: (StaticString, Member) -> Void) {
        func add(_ name: StaticString, _ value: some BinaryInteger) {
            if value > 0 { body(name, .integer(Int64(value))) }
        }
        body("step", .text(self.kind.name))
        body("at", .integer(Int64(self.begun)))
        if !self.isOpen { body("took", .integer(Int64(self.ended - self.begun))) }
        if let path = self.path { body("path", .text(path.description)) }
        if let server = self.server.map(Int.init), servers.count > 1, servers.indices.contains(server) {
            body("server", .text(servers[server]))
        }
        add("bytes", self.bytes)
        add("blocks", self.blocks)
        if self.released != Self.open { body("waited", .integer(Int64(self.released - self.begun))) }
        if let code = self.code { body("code", .text(code.description)) }
        if let failure = self.failure { body("failure", .text(failure.words)) }
        add("retransmissions", self.retransmissions)
        add("repeated-by-device", self.repetitions)
    }
}

extension MessageLayer.Failure {
    fileprivate var words: String {
        switch self {
        case .unacknowledged: "not acknowledged"
        case .noResponse: "acknowledged, no answer"
        case .reset: "rejected"
        case .unusableResponse: "unusable answer"
        case .overloaded: "not sent"
        }
    }
}
