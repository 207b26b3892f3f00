package import CoAP
internal import LwM2M

/// The gateway's own request to a registered device: Execute `/1/x/9`, Bootstrap-Request Trigger (LwM2M Core, section
/// 6.1.7.2 and appendix E.2). The server hears nothing of it, and its requests keep their order: the trigger goes when
/// none of them waits.
///
/// `x` is the instance of the Server object with the registration's short server ID. A bootstrap that this gateway has
/// carried told it; otherwise, or when the device knows no such instance, the device is asked: first for the contents of
/// object 1, then, if it does not show them, for its list of instances, which helps where there is but one.
extension RegistrationRelay {
    struct Errand: Sendable {
        enum Step: Sendable { case resting, reading, discovering, executing }

        let order: RebootstrapOrder
        let shortServerID: UInt16
        var instance: UInt16?
        var step = Step.resting
        /// The request that is at the device.
        var exchange: MessageLayer.ExchangeID?
        /// The device has been asked for its instances: what it says now is its last word.
        var hasAsked = false
        /// That it was not reached is on record.
        var isReported = false

        mutating func rest() {
            self.step = .resting
            self.exchange = nil
        }
    }

    /// The order that waits or is under way here.
    package var openOrder: RebootstrapOrder? { self.errand?.order }

    /// Whether the device has a request of the gateway's own.
    package var isErrandAtDevice: Bool { self.errand?.exchange != nil }

    /// The device shall bootstrap again: now if it can be reached, at its next contact if it sleeps or has no session.
    /// Replaces an older order.
    ///
    /// - Parameters:
    ///   - shortServerID: of the registration.
    ///   - instance: of its Server object, if it is known.
    ///   - isAwake: the device was heard from a moment ago.
    package mutating func order(
        _ order: RebootstrapOrder, shortServerID: UInt16, instance: UInt16?, isAwake: Bool,
        into actions: inout [Action]
    ) {
        self.withdrawOrder(into: &actions)
        self.errand = Errand(order: order, shortServerID: shortServerID, instance: instance)
        if isAwake || !self.isQueueMode { self.continueErrand(into: &actions) }
    }

    /// The order is void: it was carried out elsewhere, or taken back.
    package mutating func withdrawOrder(into actions: inout [Action]) {
        if let exchange = self.errand?.exchange { actions.append(.cancelDevice(exchange)) }
        self.errand = nil
    }

    /// The device is awake and all that the server wants of it is on its way.
    mutating func continueErrand(into actions: inout [Action]) {
        guard let errand, case .resting = errand.step, self.isAttached, self.isRegistered, self.held.isEmpty,
            !self.awaitsAnswer
        else { return }
        if let instance = errand.instance {
            self.execute(instance, into: &actions)
        } else {
            self.askForInstances(into: &actions)
        }
    }

    private mutating func execute(_ instance: UInt16, into actions: inout [Action]) {
        self.errand?.step = .executing
        actions.append(.askDevice(CoAPRequest(.post, path: ["1", "\(instance)", "9"])))
    }

    private mutating func askForInstances(into actions: inout [Action]) {
        self.errand?.hasAsked = true
        self.errand?.step = .reading
        actions.append(.askDevice(CoAPRequest(.get, path: ["1"], accept: ContentFormat.tlv.rawValue)))
    }

    package mutating func errandSent(asDevice exchange: MessageLayer.ExchangeID) { self.errand?.exchange = exchange }

    /// It could not be sent now, and is tried again at the next contact.
    package mutating func postponeErrand() { self.errand?.rest() }

    /// - Returns: false when the exchange is another's.
    package mutating func errandAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, wallClock: Int64, into actions: inout [Action]
    ) -> Bool {
        guard let errand, errand.exchange == exchange else { return false }
        self.errand?.exchange = nil
        switch errand.step {
        case .resting: break
        case .reading:
            if let instance = Self.instance(of: errand.shortServerID, in: response) {
                self.found(instance, into: &actions)
            } else {
                self.errand?.step = .discovering
                let accept = ContentFormat.linkFormat.rawValue
                actions.append(.askDevice(CoAPRequest(.get, path: ["1"], accept: accept)))
            }
        case .discovering:
            if let instance = Self.onlyInstance(in: response) {
                self.found(instance, into: &actions)
            } else if Self.isPassing(response.code) {
                self.postpone(response.code.description, wallClock, into: &actions)
            } else {
                self.conclude("no instance of /1 is known for the server", response.code, wallClock, into: &actions)
            }
        case .executing:
            if response.code == .notFound && !errand.hasAsked {
                // It has renumbered its objects, or another server has.
                self.askForInstances(into: &actions)
            } else if Self.isPassing(response.code) {
                self.postpone(response.code.description, wallClock, into: &actions)
            } else {
                let outcome = response.code == .changed ? "triggered" : "refused by the device"
                self.conclude(outcome, response.code, wallClock, into: &actions)
            }
        }
        return true
    }

    /// The device was not reached, or has lost the conversation: the order stays.
    ///
    /// - Returns: false when the exchange is another's.
    package mutating func errandFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, wallClock: Int64,
        into actions: inout [Action]
    ) -> Bool {
        guard let errand, errand.exchange == exchange else { return false }
        let reason =
            switch failure {
            case .unacknowledged, .noResponse: "the device did not answer"
            case .reset, .unusableResponse: "the device rejected the message"
            case .overloaded: "too many requests wait for the device"
            }
        self.postpone(reason, wallClock, into: &actions)
        return true
    }

    private mutating func found(_ instance: UInt16, into actions: inout [Action]) {
        self.errand?.instance = instance
        self.execute(instance, into: &actions)
    }

    /// Once on record, however often it is tried.
    private mutating func postpone(_ reason: String, _ wallClock: Int64, into actions: inout [Action]) {
        self.errand?.rest()
        guard self.errand?.isReported == false else { return }
        self.errand?.isReported = true
        guard var event = self.errandEvent("not reached, tried again at the next contact", wallClock) else { return }
        event.detail.append(.init("reason", .text(reason)))
        actions.append(.journal(event))
    }

    private mutating func conclude(
        _ outcome: String, _ code: CoAPCode, _ wallClock: Int64, into actions: inout [Action]
    ) {
        guard let order = self.errand?.order, var event = self.errandEvent(outcome, wallClock) else { return }
        if let instance = self.errand?.instance { event.detail.append(.init("instance", .integer(Int64(instance)))) }
        event.detail.append(.init("code", .text(code.description)))
        self.errand = nil
        actions.append(.journal(event))
        actions.append(.orderSettled(order))
    }

    private func errandEvent(_ outcome: String, _ wallClock: Int64) -> AuditEvent? {
        guard let errand else { return nil }
        var event = self.event(.simChanged, wallClock)
        event.detail += [
            .init("action", .text("rebootstrap")), .init("by", .text("gateway")),
            .init("ssid", .integer(Int64(errand.shortServerID))), .init("outcome", .text(outcome)),
        ]
        return event
    }

    // MARK: - What the device says of object 1

    /// Whether the device may answer otherwise another time: it is busy, or does not let the server in just now. What it
    /// cannot do today it cannot do tomorrow.
    private static func isPassing(_ code: CoAPCode) -> Bool {
        switch code {
        case .unauthorized, .forbidden, .requestEntityIncomplete, .conflict, .tooManyRequests: true
        case .notImplemented: false
        default: code.codeClass == 5
        }
    }

    /// The instance with this short server ID, of an answer in whatever format. A part of a body is no answer.
    private static func instance(of shortServerID: UInt16, in response: CoAPResponse) -> UInt16? {
        guard response.code == .content, response.isWhole,
            let format = response.contentFormat.map(ContentFormat.init(rawValue:)),
            case .instances(let instances)? = try? PayloadCodec.decode(response.payload, format, at: LwM2MPath(1))
        else { return nil }
        return instances.first { (try? ServerAccount($0))?.shortServerID == shortServerID }?.id
    }

    /// The one instance that a list of links names.
    private static func onlyInstance(in response: CoAPResponse) -> UInt16? {
        guard response.code == .content, response.isWhole,
            response.contentFormat == ContentFormat.linkFormat.rawValue
        else { return nil }
        let links = String(decoding: response.payload, as: UTF8.self).split(separator: ",")
        let instances = links.compactMap { link -> UInt16? in
            guard let target = link.split(separator: ">").first, target.hasPrefix("</") else { return nil }
            let segments = target.dropFirst(2).split(separator: "/")
            guard segments.count >= 2, segments[0] == "1" else { return nil }
            return UInt16(segments[1])
        }
        return Set(instances).count == 1 ? instances.first : nil
    }
}

extension CoAPResponse {
    /// Not one block of several.
    fileprivate var isWhole: Bool {
        guard let value = self.options.first(.block2) else { return true }
        return BlockOption(value).map { $0.num == 0 && !$0.more } ?? false
    }
}
