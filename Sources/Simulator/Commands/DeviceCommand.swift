internal import ArgumentParser
internal import Glibc
internal import Synchronization

struct DeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device",
        abstract: "A LwM2M device: bootstraps, registers, answers its server.",
        discussion: """
            Without --once it stays registered until it is ended. It exits with 0 if all went well. SIGUSR1 makes a \
            registered device update its registration, SIGUSR2 shake hands again before that.
            """
    )

    @Option(
        help: ArgumentHelp("The bootstrap server: coaps://HOST:PORT, or coap:// without security.", valueName: "uri")
    )
    var bootstrap: String?

    @Option(help: ArgumentHelp("Register here at once, without a bootstrap.", valueName: "uri"))
    var server: String?

    @Option(help: ArgumentHelp("Register with the account in this file, without a bootstrap.", valueName: "file"))
    var account: String?

    @Option(
        help: ArgumentHelp(
            """
            Keep the account of the LwM2M server in this file, key included, and those of further ones beside it, with \
            their short server ID behind the name.
            """, valueName: "file"))
    var saveAccount: String?

    @Option(help: "Identity of the pre-shared key.")
    var identity: String?

    @Option(help: ArgumentHelp("The pre-shared key.", valueName: "hexadecimal"))
    var key: String?

    @Option(help: ArgumentHelp("Endpoint client name.", valueName: "name"))
    var endpoint = "bootgate-simulator"

    @Option(help: ArgumentHelp("Send from this address.", valueName: "host[:port]"))
    var bind: String?

    @Option(help: ArgumentHelp("The version that it registers with.", valueName: "1.0 or 1.1"))
    var version = "1.1"

    @Flag(help: "Update, de-register and end when the server has been quiet for --stay seconds.")
    var once = false

    @Flag(help: "End after the bootstrap.")
    var bootstrapOnly = false

    @Option(
        help: ArgumentHelp(
            "With --bootstrap-only: how long after the last message, to repeat a lost answer.", valueName: "seconds"))
    var linger: Double = 0

    @Option(help: ArgumentHelp("With --once: how long the server must be quiet.", valueName: "seconds"))
    var stay: Double = 1

    @Option(help: ArgumentHelp("How long it waits for one answer.", valueName: "seconds"))
    var patience: Double = 30

    @Option(help: ArgumentHelp("Repeat a message that is not acknowledged after this time.", valueName: "seconds"))
    var ackTimeout: Double?

    @Option(help: ArgumentHelp("How often a message, or a flight of the handshake, is repeated.", valueName: "n"))
    var maxRetransmit: UInt16 = 4

    @Flag(help: "Register from the port that it bootstrapped from.")
    var samePort = false

    @Option(help: ArgumentHelp("How many notifications an observation gets.", valueName: "n"))
    var notifications = 3

    @Flag(help: "Send every notification confirmable, not only the last one.")
    var confirm = false

    @Option(
        help: ArgumentHelp("After so many notifications shake hands again, from a new port, and go on.", valueName: "n")
    )
    var reconnectAfter: Int?

    @Option(help: ArgumentHelp("Hold a file of so many bytes at /19/0/0.", valueName: "n"))
    var data: Int?

    @Option(
        help: ArgumentHelp("A further parameter of Register; may be given several times.", valueName: "name[=value]"))
    var registerQuery: [String] = []

    @Flag(help: "Leave the endpoint client name out of the bootstrap request.")
    var noEp = false

    @Option(help: ArgumentHelp("Fall silent after this many requests of the bootstrap server.", valueName: "n"))
    var vanishAfter: Int?

    @Flag(help: "Answer the end of the bootstrap with 4.06.")
    var refuseFinish = false

    @Option(help: ArgumentHelp("Answer every write of the bootstrap server with this code.", valueName: "code"))
    var refuseWrite: String?

    @Option(help: ArgumentHelp("Ask again after this many requests of the bootstrap server.", valueName: "n"))
    var repeatRequest: Int?

    @Option(
        help: ArgumentHelp("Bootstrap so often before it registers, over the same connection.", valueName: "n")
    )
    var bootstraps = 1

    @OptionGroup var common: CommonOptions

    func run() throws {
        let events = EventStream(role: "device", isVerbose: self.common.verbose)
        let device = Device(try validated { try self.behaviour() }, events: events)
        let stack = try validated { try CoAPStack(role: device, verbose: self.common.verbose) }
        stack.carryBlocks()
        events.report("started", ["endpoint": .text(self.endpoint), "dtls": .text(CoAPStack.dtlsLibrary)])
        Signals.listen()
        var isSaved = self.saveAccount == nil
        let end = self.common.loop(stack, standard: self.once || self.bootstrapOnly ? 120 : 1e9).run { now in
            if !isSaved, device.hasBootstrapped, let account = device.serverAccount, let file = self.saveAccount {
                isSaved = AccountFile(path: file).write(account)
                for further in device.serverAccounts where further.shortServerID != account.shortServerID {
                    guard let number = further.shortServerID else { continue }
                    isSaved = AccountFile(path: "\(file).\(number)").write(further) && isSaved
                }
            }
            if Signals.takeUpdate() { device.mustUpdate = true }
            if Signals.takeReconnection() { device.mustReconnect = true }
            return device.advance(stack, now: now)
        }
        switch (end, device.phase) {
        case (.done, .ended(.success)): events.report("done")
        // It was told to be silent, or to stay.
        case (.timeout, .vanished): events.report("done")
        case (.timeout, .registered) where !self.once: events.report("done")
        case (.timeout, _):
            events.report("failed", ["reason": "timeout"])
            throw ExitCode(1)
        default: throw ExitCode(1)
        }
    }

    private func behaviour() throws -> Device.Behaviour {
        var behaviour = Device.Behaviour(endpoint: self.endpoint, server: try self.firstAccount())
        behaviour.skipsBootstrap = self.bootstrap == nil
        behaviour.local = try self.bind.map { text in
            guard text.contains(":") else { return (text, 0) }
            let parts = text.split(separator: ":")
            guard parts.count == 2, let port = UInt16(parts[1]) else {
                throw ArgumentProblem(description: "'\(text)' is not an address: write HOST or HOST:PORT")
            }
            return (String(parts[0]), port)
        }
        behaviour.version = self.version
        behaviour.isOnce = self.once
        behaviour.isBootstrapOnly = self.bootstrapOnly
        behaviour.linger = .seconds(self.linger)
        behaviour.stay = .seconds(self.stay)
        behaviour.patience = .seconds(self.patience)
        behaviour.retransmission = try retransmission(after: self.ackTimeout, limit: self.maxRetransmit)
        behaviour.reusesPort = self.samePort
        behaviour.notifications = max(0, self.notifications)
        behaviour.sendsEndpoint = !self.noEp
        behaviour.confirmsNotifications = self.confirm
        behaviour.reconnectsAfter = self.reconnectAfter
        behaviour.dataBytes = self.data.map { min(max(0, $0), 1 << 20) }
        behaviour.registerQueries = self.registerQuery
        behaviour.vanishesAfter = self.vanishAfter
        behaviour.refusesFinish = self.refuseFinish
        behaviour.writeRefusal = try self.refuseWrite.map { try code($0) }
        behaviour.repeatsRequestAfter = self.repeatRequest
        behaviour.bootstraps = max(1, self.bootstraps)
        return behaviour
    }

    /// The account that the device starts with: exactly one of the three ways to give it.
    private func firstAccount() throws -> Account {
        switch (self.bootstrap, self.server, self.account) {
        case (let uri?, nil, nil): return try self.account(uri, isBootstrapServer: true)
        case (nil, let uri?, nil): return try self.account(uri, isBootstrapServer: false)
        case (nil, nil, let file?): return try AccountFile(path: file).read()
        default: throw ArgumentProblem(description: "give one of --bootstrap, --server and --account")
        }
    }

    private func account(_ uri: String, isBootstrapServer: Bool) throws -> Account {
        var account = Account(uri: uri, isBootstrapServer: isBootstrapServer, shortServerID: nil)
        guard try ServerAddress(parsing: uri).isSecure else { return account }
        guard let identity, let key = self.key.flatMap(bytes(hexadecimal:)) else {
            throw ArgumentProblem(description: "coaps:// needs --identity, and --key in hexadecimal digits")
        }
        account.securityMode = Account.preSharedKey
        account.identity = Array(identity.utf8)
        account.key = key
        return account
    }
}

/// The bytes that pairs of hexadecimal digits stand for; nil when `text` is anything else.
func bytes(hexadecimal text: String) -> [UInt8]? {
    let digits = text.compactMap { $0.isASCII ? $0.hexDigitValue : nil }
    guard digits.count == text.count, digits.count.isMultiple(of: 2) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// What whoever started a device asks of it by signals.
private enum Signals {
    private static let update = Atomic(false)
    private static let reconnection = Atomic(false)

    static func listen() {
        // Both exist before a handler may want them.
        _ = (self.takeUpdate(), self.takeReconnection())
        signal(SIGUSR1) { _ in Signals.update.store(true, ordering: .relaxed) }
        signal(SIGUSR2) { _ in Signals.reconnection.store(true, ordering: .relaxed) }
    }

    static func takeUpdate() -> Bool { self.update.exchange(false, ordering: .relaxed) }
    static func takeReconnection() -> Bool { self.reconnection.exchange(false, ordering: .relaxed) }
}

/// An account in a file that only its owner can read: URI, identity, key and short server ID, each in a line, identity
/// and key in hexadecimal.
struct AccountFile {
    let path: String

    func write(_ account: Account) -> Bool {
        let number = account.shortServerID.map { "\($0)" } ?? ""
        let text = "\(account.uri)\n\(hexadecimal(account.identity))\n\(hexadecimal(account.key))\n\(number)\n"
        let descriptor = open(self.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        return Array(text.utf8).withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) == $0.count }
    }

    func read() throws -> Account {
        let problem = ArgumentProblem(description: "'\(self.path)' is no account that --save-account has written")
        let descriptor = open(self.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw problem }
        defer { Glibc.close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        guard count > 0 else { throw problem }
        let lines = String(decoding: buffer.prefix(count), as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 4, let identity = bytes(hexadecimal: String(lines[1])),
            let key = bytes(hexadecimal: String(lines[2]))
        else { throw problem }
        var account = Account(uri: String(lines[0]), isBootstrapServer: false, shortServerID: Int64(lines[3]))
        account.identity = identity
        account.key = key
        if !key.isEmpty { account.securityMode = Account.preSharedKey }
        return account
    }
}
