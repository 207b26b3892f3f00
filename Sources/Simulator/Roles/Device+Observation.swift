internal import CCoAPStack

extension Device {
    /// A resource, or several together, that a server watches.
    struct Observation {
        enum Target: Equatable {
            case resource([UInt16])
            case composite([String])
        }

        var target: Target
        var remaining: Int
        var sequence: UInt32 = 1
        var next: ContinuousClock.Instant
    }

    /// Begins or ends an observation if the request asks for it.
    func observe(_ target: Observation.Target, _ request: Message, _ answer: inout Message) {
        switch request.observe {
        case 0:
            let first = ContinuousClock.now.advanced(by: .milliseconds(200))
            self.observations[request.token] = Observation(
                target: target,
                remaining: self.behaviour.notifications,
                next: first
            )
            answer.add(COAP_OPTION_OBSERVE, integer: 0)
        case 1: self.endObservation(request.token, reason: "cancelled")
        default: break
        }
    }

    func endObservation(_ token: [UInt8], reason: String) {
        guard self.observations.removeValue(forKey: token) != nil else { return }
        self.events.report("unobserved", ["reason": .text(reason)])
    }

    /// Sends the notifications that are due. The last one is confirmable, so that the end of it is certain.
    func sendNotifications(_ stack: CoAPStack, now: ContinuousClock.Instant) {
        guard let peer else { return }
        for (token, observation) in self.observations where observation.next <= now {
            if observation.remaining == 0 {
                self.observations[token] = nil
                continue
            }
            var observation = observation
            observation.remaining -= 1
            let value: (payload: [UInt8], format: UInt16)?
            let name: String
            switch observation.target {
            case .resource(let path):
                if path == [3, 0, 13] { self.setTime(Int64(observation.sequence)) }
                if path == [3, 0, 9] { self.drainBattery() }
                value = self.objects.read(path)
                name = "/" + path.map(String.init).joined(separator: "/")
            case .composite(let paths):
                if paths.contains("/3/0/13") { self.setTime(Int64(observation.sequence)) }
                value = (self.composite(paths), ContentFormat.senMLJSON)
                name = paths.joined(separator: " ")
            }
            guard let (payload, format) = value else { continue }
            var message = Message(.content)
            message.token = token
            message.isConfirmable = self.behaviour.confirmsNotifications || observation.remaining == 0
            message.add(COAP_OPTION_OBSERVE, integer: observation.sequence)
            message.setPayload(payload, format: format)
            stack.send(message, to: peer)
            self.events.report(
                "notified",
                [
                    "path": .text(name),
                    "sequence": .integer(Int64(observation.sequence)),
                ]
            )
            observation.sequence += 1
            observation.next = now.advanced(by: .milliseconds(200))
            self.observations[token] = observation
            self.lastActivity = now
            self.notified += 1
        }
    }

    /// The clock of the device runs with the notifications, so that each carries another value.
    private func setTime(_ seconds: Int64) {
        var resources = self.objects[3][0] ?? [:]
        resources[13] = TLV.integer(seconds)
        self.objects.set(3, 0, resources)
    }

    /// Every notification of the battery level costs a hundredth of it.
    private func drainBattery() {
        var resources = self.objects[3][0] ?? [:]
        resources[9] = TLV.integer(max(0, (resources[9].flatMap(TLV.integer(of:)) ?? 0) - 1))
        self.objects.set(3, 0, resources)
    }
}
