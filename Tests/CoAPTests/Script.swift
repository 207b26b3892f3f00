import CoAP
import Timing

typealias Event = MessageLayer.Event

/// A message layer and a clock that only moves when told to: a test reads as event, expected events.
struct Script {
    var layer: MessageLayer
    var now = Instant.now
    let parameters: TransmissionParameters

    init(_ options: OptionPolicy = .endpoint, parameters: TransmissionParameters = .init(), seed: UInt64 = 1) {
        self.parameters = parameters
        self.layer = MessageLayer(parameters: parameters, options: options, seed: seed)
    }

    mutating func receive(_ message: CoAPMessage) -> [Event] {
        self.receive(CoAPCodec.encode(message))
    }

    mutating func receive(_ datagram: [UInt8]) -> [Event] {
        self.run { layer, now, events in
            datagram.withUnsafeBytes { layer.receive($0, now: now, into: &events) }
        }
    }

    mutating func respond(_ request: MessageLayer.RequestID, _ response: CoAPResponse) -> [Event] {
        self.run { layer, now, events in layer.respond(to: request, response, now: now, into: &events) }
    }

    mutating func notify(
        _ request: MessageLayer.RequestID,
        _ response: CoAPResponse,
        confirmable: Bool
    ) -> [Event] {
        self.run { layer, now, events in
            layer.notify(request, response, confirmable: confirmable, now: now, into: &events)
        }
    }

    mutating func reset(_ request: MessageLayer.RequestID) -> [Event] {
        self.run { layer, now, events in layer.reset(request, now: now, into: &events) }
    }

    mutating func send(
        _ request: CoAPRequest,
        replacing: MessageLayer.ExchangeID? = nil
    ) -> (MessageLayer.ExchangeID, [Event]) {
        var events: [Event] = []
        let id = self.layer.send(request, replacing: replacing, now: self.now, into: &events)
        return (id, events)
    }

    mutating func ping() -> (MessageLayer.ExchangeID, [Event]) {
        var events: [Event] = []
        let id = self.layer.ping(now: self.now, into: &events)
        return (id, events)
    }

    /// Calls the layer whenever it asks for it, up to the end of the duration.
    mutating func advance(by duration: Duration) -> [Event] {
        let end = self.now + duration
        var events: [Event] = []
        var calls = 0
        while let deadline = self.layer.deadline, deadline <= end, calls < 10_000 {
            calls += 1
            self.now = max(self.now, deadline)
            self.layer.handleDeadline(now: self.now, into: &events)
        }
        self.now = end
        return events
    }

    mutating func advance(by seconds: Double) -> [Event] {
        self.advance(by: .seconds(seconds))
    }

    private mutating func run(
        _ body: (inout MessageLayer, Instant, inout [Event]) -> Void
    ) -> [Event] {
        var events: [Event] = []
        body(&self.layer, self.now, &events)
        return events
    }
}

/// The messages among the events.
func transmitted(_ events: [Event]) -> [CoAPMessage] {
    events.compactMap { event in
        guard case .transmit(let datagram) = event else { return nil }
        return decoded(datagram)
    }
}

/// The events without the datagrams, and without word of their repetition.
func reported(_ events: [Event]) -> [Event] {
    events.filter { event in
        switch event {
        case .transmit, .retransmitted: false
        default: true
        }
    }
}

/// The first request among the events.
func requested(_ events: [Event]) -> (id: MessageLayer.RequestID, request: CoAPRequest)? {
    for case .request(let id, let request) in events {
        return (id, request)
    }
    return nil
}

/// Nil for a datagram that is malformed.
func decoded(_ datagram: [UInt8]) -> CoAPMessage? {
    try? datagram.withUnsafeBytes { try CoAPCodec.decode($0) }
}

func token(_ bytes: UInt8...) -> CoAPToken {
    CoAPToken(bytes) ?? .empty
}

/// The path and queries of a request, with more options behind them.
func options(path: String..., query: [String] = [], adding: [(UInt16, [UInt8])] = []) -> CoAPOptions {
    var options = CoAPOptions()
    for segment in path {
        options.append(.uriPath, string: segment)
    }
    for parameter in query {
        options.append(.uriQuery, string: parameter)
    }
    for (number, value) in adding {
        options.append(CoAPOptionNumber(rawValue: number), value)
    }
    return options
}

/// `POST /bs?ep=meter`.
func bootstrapRequest(
    _ type: CoAPMessageType = .confirmable,
    messageID: UInt16 = 100,
    token: CoAPToken = token(1, 2),
    adding: [(UInt16, [UInt8])] = []
) -> CoAPMessage {
    CoAPMessage(
        type: type,
        code: .post,
        messageID: messageID,
        token: token,
        options: options(path: "bs", query: ["ep=meter"], adding: adding)
    )
}

func empty(_ type: CoAPMessageType, _ messageID: UInt16) -> CoAPMessage {
    CoAPMessage(type: type, code: .empty, messageID: messageID)
}

/// SplitMix64, so that a seed in a failure message repeats the failure.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    mutating func bytes(_ count: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: count, using: &self)).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }
}
