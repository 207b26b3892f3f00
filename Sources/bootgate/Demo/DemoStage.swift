internal import Foundation
internal import NIOCore
internal import NIOPosix

/// Where the demo takes place: a folder of its own, free ports on loopback, and one SIM.
struct DemoStage {
    static let iccid = "8944500901200000011"
    static let shortServerID = 1111
    static let accountShortServerID = 2222
    /// The account for itself that the bootstrap server writes: an address that nobody answers at.
    static let legacyBootstrapAccount = "coap://192.0.2.1:5683"

    let folder: URL
    let gatewayPort: Int
    let key: String

    var configurationFile: URL { self.folder.appendingPathComponent("bootgate.yaml") }
    /// Where the device keeps what its first bootstrap brought.
    var accountFile: String { self.folder.appendingPathComponent("first-account").path }
    var gatewayURI: String { "coaps://127.0.0.1:\(self.gatewayPort)" }

    init() async throws {
        self.folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("bootgate-demo-\(ProcessInfo.processInfo.processIdentifier)")
        try FileManager.default.createDirectory(
            at: self.folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700]
        )
        self.gatewayPort = try await Self.freePort()
        var generator = SystemRandomNumberGenerator()
        self.key = (0..<16).map { _ in
            let byte = UInt8.random(in: .min ... .max, using: &generator)
            return (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    func remove() { try? FileManager.default.removeItem(at: self.folder) }

    /// Writes the configuration, once it is known where the far ends listen.
    func writeConfiguration(bootstrapServer: String, server: String) throws {
        let text = """
            state: \(self.folder.path)/state
            records: { key: { file: \(self.folder.path)/records.key } }
            listeners:
              - coaps://127.0.0.1:\(self.gatewayPort)
            bootstrap:
              upstreams: ["\(bootstrapServer)"]
              account: { secure: "\(self.gatewayURI)" }
            servers:
              demo:
                match: { uri: "\(server)", ssid: \(Self.shortServerID) }
                device: { secure: "\(self.gatewayURI)" }
                relay: { to: "\(server)" }
            audit: { signing-key: { file: \(self.folder.path)/audit.key } }
            log: { level: warning, format: text }

            """
        try text.write(to: self.configurationFile, atomically: true, encoding: .utf8)
    }

    /// A UDP port on loopback that nobody has at the moment.
    private static func freePort() async throws -> Int {
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = channel.localAddress?.port
        try await channel.close()
        guard let port else { throw DemoError("the system gives no UDP port on loopback") }
        return port
    }
}
