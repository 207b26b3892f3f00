internal import CCoAPStack

extension ManagementServer {
    /// A request for a device.
    struct Operation: Equatable {
        enum Kind: String {
            case read, write, execute, observe, cancel
        }

        var kind: Kind
        var path: String
        var argument: String?
        /// Of an observation: after so many notifications it is cancelled, and only then comes the next operation. Nil
        /// lets it go on for ever, beside the operations that follow.
        var notifications: Int?

        var message: Message {
            switch self.kind {
            case .read: return Message(.get, path: self.path)
            case .observe, .cancel:
                var message = Message(.get, path: self.path)
                message.add(COAP_OPTION_OBSERVE, integer: self.kind == .observe ? 0 : 1)
                return message
            case .write:
                var message = Message(.put, path: self.path)
                message.setPayload(Array((self.argument ?? "").utf8), format: ContentFormat.text)
                return message
            case .execute:
                var message = Message(.post, path: self.path)
                message.payload = Array((self.argument ?? "").utf8)
                return message
            }
        }
    }

    /// One line of what the server does with a device.
    enum Step: Equatable {
        case send(Operation)
        /// Goes on when the device has updated its registration.
        case awaitUpdate
        /// Goes on when the device has registered again.
        case awaitRegistration
    }
}

extension ManagementServer.Step {
    /// Reads `read:PATH`, `write:PATH=VALUE`, `execute:PATH[=ARGUMENT]`, `observe:PATH:NOTIFICATIONS`, `await:update` or
    /// `await:registration`.
    init(parsing text: String) throws {
        let problem = ArgumentProblem(description: "'\(text)' is no step: see --help")
        guard let colon = text.firstIndex(of: ":") else { throw problem }
        let rest = text[text.index(after: colon)...]
        switch text[..<colon] {
        case "await" where rest == "update": self = .awaitUpdate
        case "await" where rest == "registration": self = .awaitRegistration
        case "read": self = .send(ManagementServer.Operation(kind: .read, path: String(rest)))
        case "write": self = .send(ManagementServer.Operation(kind: .write, pathAndArgument: rest))
        case "execute": self = .send(ManagementServer.Operation(kind: .execute, pathAndArgument: rest))
        case "observe":
            let parts = rest.split(separator: ":")
            guard parts.count == 2, let count = Int(parts[1]), count > 0 else { throw problem }
            self = .send(ManagementServer.Operation(kind: .observe, path: String(parts[0]), notifications: count))
        default: throw problem
        }
    }
}

extension ManagementServer.Operation {
    /// Reads `PATH=ARGUMENT`, or `PATH` alone.
    init(kind: Kind, pathAndArgument text: some StringProtocol) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        self.init(kind: kind, path: String(parts[0]), argument: parts.count == 2 ? String(parts[1]) : nil)
    }
}
