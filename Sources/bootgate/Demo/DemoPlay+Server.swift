/// The parts that the LwM2M server tells.
extension DemoPlay {
    static let offset = "/3/0/14"
    static let newOffset = "+01:00"
    static let updateTrigger = "/1/0/8"
    static let bootstrapTrigger = "/1/0/9"
    private static let notifications = 3

    /// What the server does at the first registration of the device and at the second.
    static let script = [
        "read:/3/0/0", "observe:/3/0/9:\(notifications)", "write:\(offset)=\(newOffset)", "read:\(offset)",
        "execute:\(updateTrigger)", "await:update", "execute:\(bootstrapTrigger)", "await:registration",
        "read:\(offset)",
    ]

    /// Follows the server while it reads, observes, writes and asks for an update of the registration.
    func manage(from server: DemoProcess) async throws {
        let registered = try await self.event("registered", from: server)
        self.say(
            "server", "sees \(registered.text("peer") ?? "?"), a port of the gateway for this device, and no DTLS", "")
        try await self.answer("read", "/3/0/0", from: server, "Read /3/0/0, manufacturer")
        try await self.observe(server)
        try await self.answer("write", Self.offset, from: server, "Write /3/0/14, UTC offset: \(Self.newOffset)")
        try await self.answer("read", Self.offset, from: server, "Read /3/0/14", value: Self.newOffset)
        try await self.answer("execute", Self.updateTrigger, from: server, "Execute /1/0/8, registration update")
    }

    private func observe(_ server: DemoProcess) async throws {
        let path = "/3/0/9"
        var values = [try await self.answer("observe", path, from: server, "Observe \(path), battery level")]
        for number in 1...Self.notifications {
            let notification = try await self.event("notification", from: server)
            let value = notification.text("payload") ?? ""
            guard notification.text("path") == path, notification.integer("sequence") == number,
                !values.contains(value)
            else { throw DemoError("notification \(number) of \(path) tells nothing new: \(value)") }
            values.append(value)
            self.say("device → server", "Notify \(path)", "\(notification.text("code") ?? "")  \(value)")
        }
        try await self.answer("cancel", path, from: server, "Cancel the observation of \(path)")
    }

    /// Waits for the answer to an operation of the server, which has to be a good one, and returns its value.
    ///
    /// - Parameter value: what the answer has to be.
    @discardableResult
    func answer(
        _ operation: String, _ path: String, from server: DemoProcess, _ what: String, value expected: String? = nil
    ) async throws -> String {
        let answer = try await self.event("answered", from: server)
        guard answer.text("operation") == operation, answer.text("path") == path else {
            throw DemoError(
                "the server was at \(answer.text("operation") ?? "?") \(answer.text("path") ?? "?"), not \(what)")
        }
        let code = answer.text("code") ?? ""
        let value = answer.text("payload") ?? ""
        self.say("server → device", what, "\(code)  \(value)")
        guard code.hasPrefix("2.") else { throw DemoError("\(what) was answered with \(code)") }
        if let expected, value != expected { throw DemoError("\(what) brought '\(value)' instead of '\(expected)'") }
        return value
    }

    /// The next event with this name. Those in between do not count, except for failures.
    func event(_ name: String, from server: DemoProcess) async throws -> DemoEvent {
        while let event = await server.nextEvent() {
            if event.name == name { return event }
            if event.name == "undelivered" {
                throw DemoError(
                    "\(event.text("operation") ?? "?") \(event.text("path") ?? "?") did not reach the device: "
                        + (event.text("reason") ?? "for no reason that the server knows"))
            }
        }
        throw DemoError("the \(server.name) ended, or said nothing for 20 seconds, before '\(name)'")
    }
}
