internal import CoAP
internal import DTLS
internal import Secrets

/// The compact form of a hand-over: a magic word, a version, then its parts in order. Nothing may follow.
extension Handover {
    private static let magic: UInt32 = 0x4247_484F  // "BGHO"
    private static let version: UInt8 = 1

    /// As secret as the keys in it.
    package func encoded() -> [UInt8] {
        var writer = HandoverWriter(capacity: self.capacity)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt64(bitPattern: self.savedAt))
        writer.write(count: self.registrations.count)
        for registration in self.registrations { writer.write(registration) }
        writer.write(count: self.sessions.count)
        for session in self.sessions { writer.write(session) }
        writer.write(count: self.ports.count)
        for port in self.ports {
            writer.write(port.local)
            writer.write(port.remote)
            writer.write(port.remaining)
        }
        return writer.bytes
    }

    /// More than enough for all of it.
    private var capacity: Int {
        func size(_ layer: MessageLayer.Memento) -> Int {
            layer.messages.reduce(64) { sum, message in
                if case .message(let bytes) = message.answer { sum + 16 + bytes.count } else { sum + 16 }
            }
        }
        let sessions = self.sessions.reduce(0) { sum, session in
            sum + 160 + session.iccid.utf8.count + size(session.layer)
                + (session.dtls == nil ? 0 : DTLSSessionState.maximumEncodedLength)
        }
        let registrations = self.registrations.reduce(0) { sum, registration in
            sum + 384 + registration.iccid.utf8.count + registration.server.utf8.count
                + registration.upstream.utf8.count + registration.location.reduce(0) { $0 + 2 + $1.count }
                + registration.observations.count * 32 + size(registration.layer)
        }
        return 64 + sessions + registrations + self.ports.count * 64
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(HandoverFormatError) {
        var reader = HandoverReader(bytes)
        guard try reader.read(UInt32.self) == Self.magic else { throw reader.malformed("this is no hand-over") }
        guard try reader.read(UInt8.self) == Self.version else { throw reader.malformed("another version wrote it") }
        self.savedAt = Int64(bitPattern: try reader.read(UInt64.self))
        let registrations = try reader.readArray(limit: Limit.registrations) {
            reader throws(HandoverFormatError) in try reader.readRegistration()
        }
        self.registrations = registrations
        self.sessions = try reader.readArray(limit: Limit.sessions) { reader throws(HandoverFormatError) in
            try reader.readSession(registrations: registrations.count)
        }
        var owned = Set<Int>()
        for session in self.sessions {
            guard let registration = session.registration else { continue }
            guard owned.insert(registration).inserted else {
                throw reader.malformed("two sessions share a registration")
            }
        }
        self.ports = try reader.readArray(limit: Limit.ports) { reader throws(HandoverFormatError) in
            Port(
                local: try reader.readAddress(), remote: try reader.readAddress(),
                remaining: try reader.read(UInt32.self)
            )
        }
        guard reader.left == 0 else { throw reader.malformed("something follows its end") }
    }
}

extension HandoverWriter {
    fileprivate mutating func write(_ address: PeerAddress) {
        self.write(address.high)
        self.write(address.low)
        self.write(address.port)
        self.write(address.scope)
    }

    fileprivate mutating func write(_ session: Handover.Session) {
        self.write(session.listener)
        self.write(session.peer)
        self.write(session.iccid)
        self.write(session.dtls) { writer, state in writer.writeSized { state.encode(into: &$0) } }
        self.write(session.hasAddress)
        self.write(session.silence)
        self.write(session.layer)
        self.write(session.registration) { writer, index in writer.write(count: index) }
    }

    fileprivate mutating func write(_ registration: Handover.Registration) {
        self.write(registration.iccid)
        self.write(registration.server)
        self.write(registration.shortServerID)
        switch registration.right {
        case .identity(let identity):
            self.write(UInt8(1))
            self.write(identity.bytes)
        case .grant: self.write(UInt8(2))
        }
        self.write(registration.arrivedSecurely)
        self.write(registration.upstream)
        self.write(registration.local)
        self.write(registration.remote)
        self.write(count: registration.location.count)
        for segment in registration.location { self.write(segment) }
        self.write(registration.lifetime)
        self.write(registration.remaining) { writer, remaining in writer.write(UInt64(bitPattern: remaining)) }
        self.write(registration.bindingQueues)
        self.write(registration.hasQueueFlag)
        self.write(registration.layer)
        self.write(count: registration.observations.count)
        for observation in registration.observations {
            self.write(observation.device.token.bytes)
            self.write(observation.device.sequence)
            self.write(observation.device.age)
            self.write(observation.server.token.bytes)
            self.write(observation.server.lastNonConfirmable) { writer, id in writer.write(id) }
        }
    }

    private mutating func write(_ layer: MessageLayer.Memento) {
        self.write(layer.nextMessageID)
        for block in 0..<MessageLayer.Memento.blocks {
            let age = block < layer.blockAges.count ? layer.blockAges[block] : nil
            self.write(age) { writer, age in writer.write(age) }
        }
        self.write(count: layer.messages.count)
        for message in layer.messages {
            self.write(message.fingerprint)
            self.write(message.messageID)
            self.write(message.isConfirmable)
            self.write(message.age)
            switch message.answer {
            case .acknowledged: self.write(UInt8(0))
            case .reset: self.write(UInt8(1))
            case .nothing: self.write(UInt8(2))
            case .message(let bytes):
                self.write(UInt8(3))
                self.write(bytes)
            }
        }
    }
}

extension HandoverReader {
    fileprivate mutating func readAddress() throws(HandoverFormatError) -> PeerAddress {
        PeerAddress(high: try self.read(), low: try self.read(), port: try self.read(), scope: try self.read())
    }

    fileprivate mutating func readSession(
        registrations: Int
    ) throws(HandoverFormatError) -> Handover.Session {
        Handover.Session(
            listener: try self.readAddress(), peer: try self.readAddress(),
            iccid: try self.readText(limit: Handover.Limit.iccid),
            dtls: try self.readOptional { reader throws(HandoverFormatError) in try reader.readState() },
            hasAddress: try self.readFlag(), silence: try self.read(UInt32.self), layer: try self.readLayer(),
            registration: try self.readOptional { reader throws(HandoverFormatError) in
                let index = Int(try reader.read(UInt32.self))
                guard index < registrations else { throw reader.malformed("a session names no registration") }
                return index
            }
        )
    }

    private mutating func readState() throws(HandoverFormatError) -> DTLSSessionState {
        let bytes = try self.readSlice(limit: DTLSSessionState.maximumEncodedLength)
        do throws(DTLSError) {
            return try DTLSSessionState(decoding: bytes)
        } catch {
            throw self.malformed("\(error)")
        }
    }

    fileprivate mutating func readRegistration() throws(HandoverFormatError) -> Handover.Registration {
        Handover.Registration(
            iccid: try self.readText(limit: Handover.Limit.iccid),
            server: try self.readText(limit: Handover.Limit.name), shortServerID: try self.read(),
            right: try self.readRight(), arrivedSecurely: try self.readFlag(),
            upstream: try self.readText(limit: Handover.Limit.uri), local: try self.readAddress(),
            remote: try self.readAddress(),
            location: try self.readArray(limit: Handover.Limit.locationSegments) {
                reader throws(HandoverFormatError) in try reader.readBytes(limit: Handover.Limit.locationSegment)
            },
            lifetime: try self.read(),
            remaining: try self.readOptional { reader throws(HandoverFormatError) in
                Int64(bitPattern: try reader.read(UInt64.self))
            },
            bindingQueues: try self.readFlag(), hasQueueFlag: try self.readFlag(), layer: try self.readLayer(),
            observations: try self.readArray(limit: Handover.Limit.observations) {
                reader throws(HandoverFormatError) in try reader.readObservation()
            }
        )
    }

    private mutating func readRight() throws(HandoverFormatError) -> Handover.Registration.Right {
        switch try self.read(UInt8.self) {
        case 1:
            guard let identity = PSKIdentity(try self.readBytes(limit: PSKIdentity.maximumLength)) else {
                throw self.malformed("an identity that cannot be")
            }
            return .identity(identity)
        case 2: return .grant
        default: throw self.malformed("an unknown right")
        }
    }

    private mutating func readObservation() throws(HandoverFormatError) -> Handover.Observation {
        Handover.Observation(
            device: MessageLayer.SavedObservation(
                token: try self.readToken(), sequence: try self.read(), age: try self.read()
            ),
            server: MessageLayer.SavedObserver(
                token: try self.readToken(),
                lastNonConfirmable: try self.readOptional { reader throws(HandoverFormatError) in
                    try reader.read(UInt16.self)
                }
            )
        )
    }

    private mutating func readToken() throws(HandoverFormatError) -> CoAPToken {
        guard let token = CoAPToken(try self.readBytes(limit: 8)) else { throw self.malformed("a token too long") }
        return token
    }

    private mutating func readLayer() throws(HandoverFormatError) -> MessageLayer.Memento {
        let next = try self.read(UInt16.self)
        var ages: [UInt32?] = []
        for _ in 0..<MessageLayer.Memento.blocks {
            ages.append(
                try self.readOptional { reader throws(HandoverFormatError) in try reader.read(UInt32.self) }
            )
        }
        let messages = try self.readArray(limit: MessageLayer.RememberedMessage.maximumCount) {
            reader throws(HandoverFormatError) in
            MessageLayer.RememberedMessage(
                fingerprint: try reader.read(), messageID: try reader.read(), isConfirmable: try reader.readFlag(),
                age: try reader.read(), answer: try reader.readAnswer()
            )
        }
        return MessageLayer.Memento(nextMessageID: next, blockAges: ages, messages: messages)
    }

    private mutating func readAnswer() throws(HandoverFormatError) -> MessageLayer.RememberedMessage.Answer {
        switch try self.read(UInt8.self) {
        case 0: return .acknowledged
        case 1: return .reset
        case 2: return .nothing
        case 3:
            return .message(try self.readBytes(limit: MessageLayer.RememberedMessage.maximumAnswerBytes))
        default: throw self.malformed("an unknown answer")
        }
    }
}
