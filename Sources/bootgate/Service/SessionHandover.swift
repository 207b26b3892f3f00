internal import Gateway
internal import Logging
internal import NIOPosix
internal import Records
internal import Secrets

/// The way of sessions and registrations from one run of the gateway to the next: through the sealed file of
/// ``SessionVault``, once. Files are read and written on threads that may block.
struct SessionHandover: Sendable {
    let vault: SessionVault
    let logger: Logger

    /// What the last run has left for this one. Called once, at every start.
    func take() async -> Handover? {
        if let warning = self.vault.warning { self.logger.warning("\(warning)") }
        do {
            return try await NIOThreadPool.singleton.runIfActive {
                guard var body = try self.vault.take() else { return nil }
                defer { body.wipe() }
                return try body.withUnsafeBytes { try Handover(decoding: $0) }
            }
        } catch {
            self.logger.warning(
                "the saved sessions are not used; devices shake hands again", metadata: ["error": "\(error)"]
            )
            return nil
        }
    }

    /// False when the next run will know nothing of it.
    func save(_ handover: Handover) async -> Bool {
        do {
            var effort = Effort()
            let length = try await effort.measure {
                try await NIOThreadPool.singleton.runIfActive {
                    var body = handover.encoded()
                    defer { body.wipe() }
                    let length = body.count
                    try self.vault.save(&body)
                    return length
                }
            }
            self.logger.info(
                "sessions handed over to the next start",
                metadata: [
                    "sessions": "\(handover.sessions.count)", "registrations": "\(handover.registrations.count)",
                    "bytes": "\(length)", "microseconds": "\(effort.wall)",
                    "processor_microseconds": "\(effort.processor)",
                ]
            )
            return true
        } catch {
            self.logger.error(
                "sessions cannot be handed over; devices shake hands again and register again",
                metadata: ["error": "\(error)"]
            )
            return false
        }
    }
}
