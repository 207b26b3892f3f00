/// The parts that the device tells.
extension DemoPlay {
    /// What a bootstrap left the device with for its server.
    struct Credential {
        var identity: String
        var fingerprint: String
    }

    /// Follows a bootstrap to its end, and shows the accounts that the server wrote beside those that arrived.
    func bootstrap(_ device: DemoProcess, _ story: inout DemoStory) async throws -> Credential {
        story.forgetAccounts()
        _ = try await self.follow(device, &story, until: "finished")
        self.say("\n\(story.accountTable)\n")
        guard let account = story.serverAccount, account.text("uri") == self.stage.gatewayURI,
            account.integer("mode") == 0, let identity = account.text("identity"),
            let fingerprint = account.text("keyFingerprint")
        else { throw DemoError("the device got no coaps:// account with a key for the LwM2M server") }
        return Credential(identity: identity, fingerprint: fingerprint)
    }

    /// Follows the registration, which has to be over DTLS.
    func register(_ device: DemoProcess, _ story: inout DemoStory) async throws {
        _ = try await self.follow(device, &story, until: "registered")
        guard story.isSecure else { throw DemoError("the device registered without DTLS") }
    }

    /// Follows the update that the server has asked for. Before it the device was told that nobody observes it any more.
    func update(_ device: DemoProcess, _ story: inout DemoStory, at server: DemoProcess) async throws {
        _ = try await self.follow(device, &story, until: "updated")
        guard story.hasEndedObservation else {
            throw DemoError("the observation was cancelled at the server, but the device was not told")
        }
        _ = try await self.event("updated", from: server)
    }

    /// Another device comes with the credential that counts no more. The one that is registered stays so.
    func register(withOldKeyOf credential: Credential) async throws {
        let intruder = try self.simulate(
            "device with the old key",
            ["device", "--account", self.stage.accountFile, "--endpoint", DemoStage.iccid])
        var story = DemoStory(legacyServer: self.legacyServer)
        let end = try await self.follow(intruder, &story, until: "failed")
        guard end.text("step") == "registration", end.text("code") == "4.03",
            story.identity == credential.identity
        else { throw DemoError("the old key did not get 4.03") }
    }

    /// Tells what the device does until the event `name`.
    private func follow(
        _ device: DemoProcess, _ story: inout DemoStory, until name: String
    ) async throws -> DemoEvent {
        while let event = await device.nextEvent() {
            for line in story.tell(event) { self.say(line) }
            if event.name == name { return event }
            if event.name == "failed" || event.name == "registered" {
                throw DemoError("the \(device.name) came to '\(event.name)' instead of '\(name)'")
            }
        }
        throw DemoError("the \(device.name) ended, or said nothing for 20 seconds, before '\(name)'")
    }
}
