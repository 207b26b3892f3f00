internal import ArgumentParser

struct BootstrapServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bootstrap-server",
        abstract: "A legacy LwM2M bootstrap server: plain CoAP, or DTLS with --psk."
    )

    @Option(help: ArgumentHelp("Where devices arrive; port 0 lets the system choose.", valueName: "host:port"))
    var listen = "127.0.0.1:5783"

    @Option(help: ArgumentHelp("The LwM2M server that devices get.", valueName: "uri"))
    var serverURI = "coap://127.0.0.1:5683"

    @Option(
        help: ArgumentHelp(
            "Identity that devices show to that server; {endpoint} is the device's name.", valueName: "text")
    )
    var serverIdentity: String?

    @Option(help: ArgumentHelp("Key that goes with --server-identity.", valueName: "hexadecimal"))
    var serverKey: String?

    @Option(help: "Short server ID of that server.")
    var ssid: Int64 = 1111

    @Option(
        help: ArgumentHelp("The bootstrap account that devices get; without it they keep their own.", valueName: "uri")
    )
    var accountURI: String?

    @Option(help: "Short server ID in the bootstrap account.")
    var accountSSID: Int64 = 2222

    @Option(help: ArgumentHelp("Lifetime of registrations.", valueName: "seconds"))
    var lifetime: Int64 = 86400

    @Option(help: ArgumentHelp("A further LwM2M server; may be given several times.", valueName: "uri,ssid"))
    var extraServer: [String] = []

    @Option(help: "How accounts are written: tlv, senml-json or senml-cbor.")
    var format = WriteFormat.tlv

    @Flag(help: "Write whole objects (/0 and /1) instead of instances.")
    var objectLevel = false

    @Option(
        help: ArgumentHelp("Write bodies in blocks of this size: 16, 32, 64, and so on to 1024.", valueName: "bytes")
    )
    var blockSize: Int?

    @Flag(help: "Ask what the device holds before the end, with Bootstrap-Discover.")
    var discover = false

    @Option(
        help: ArgumentHelp(
            "Read this before the end, with Bootstrap-Read; may be given several times.", valueName: "path")
    )
    var read: [String] = []

    @Option(help: ArgumentHelp("Know only this endpoint client name; may be given several times.", valueName: "name"))
    var onlyEndpoint: [String] = []

    @Option(help: ArgumentHelp("Answer every bootstrap request with this code.", valueName: "code"))
    var refuse: String?

    @Flag(help: "Never answer a request.")
    var silent = false

    @Flag(help: "Write an account that ends in the middle.")
    var brokenTLV = false

    @Flag(help: "Go on with the next step, in a new message, when one has failed.")
    var continueAfterAbort = false

    @Option(help: ArgumentHelp("Fall silent after this many steps.", valueName: "n"))
    var stopAfter: Int?

    @Option(help: ArgumentHelp("Wait before each step.", valueName: "seconds"))
    var pause: Double = 0

    @Option(help: ArgumentHelp("Repeat a message that is not acknowledged after this time.", valueName: "seconds"))
    var ackTimeout: Double?

    @Option(help: ArgumentHelp("How often a message is repeated.", valueName: "n"))
    var maxRetransmit: UInt16 = 4

    @OptionGroup var security: ServerSecurityOptions

    @OptionGroup var common: CommonOptions

    func run() throws {
        let events = EventStream(role: "bootstrap server", isVerbose: self.common.verbose)
        let server = BootstrapServer(try validated { try self.behaviour() }, events: events)
        let stack = try validated { try CoAPStack(role: server, verbose: self.common.verbose) }
        let port = try validated { try self.security.listen(stack, on: self.listen) }
        if self.blockSize != nil { stack.carryBlocks() }
        events.report("listening", ["port": .integer(Int64(port))])
        _ = self.common.loop(stack, standard: 1e9).run { now in
            server.sendDueSteps(stack, now: now)
            return false
        }
    }

    private func behaviour() throws -> BootstrapServer.Behaviour {
        var behaviour = BootstrapServer.Behaviour(server: (self.serverURI, self.ssid))
        switch (self.serverIdentity, self.serverKey) {
        case (nil, nil): break
        case (let identity?, let key?):
            guard let key = bytes(hexadecimal: key) else {
                throw ArgumentProblem(description: "--server-key takes hexadecimal digits")
            }
            behaviour.serverCredentials = (identity, key)
        default: throw ArgumentProblem(description: "--server-identity and --server-key go together")
        }
        behaviour.bootstrap = self.accountURI.map { ($0, self.accountSSID) }
        behaviour.extraServers = try self.extraServer.map { text in
            let parts = text.split(separator: ",")
            guard parts.count == 2, let ssid = Int64(parts[1]) else {
                throw ArgumentProblem(description: "'\(text)' is not a server: write URI,SSID")
            }
            return (String(parts[0]), ssid)
        }
        behaviour.lifetime = self.lifetime
        behaviour.format = self.format
        behaviour.writesObjects = self.objectLevel
        behaviour.discovers = self.discover
        behaviour.reads = self.read
        behaviour.blockSize = try self.blockSize.map { size in
            guard size.nonzeroBitCount == 1, 16...1024 ~= size else {
                throw ArgumentProblem(description: "--block-size takes a power of two from 16 to 1024")
            }
            return size
        }
        behaviour.refusal = try self.refuse.map { try code($0) }
        behaviour.isSilent = self.silent
        behaviour.breaksTLV = self.brokenTLV
        behaviour.continuesAfterFailure = self.continueAfterAbort
        behaviour.endpoints = self.onlyEndpoint
        behaviour.lastStep = self.stopAfter
        behaviour.pause = .seconds(self.pause)
        behaviour.retransmission = try retransmission(after: self.ackTimeout, limit: self.maxRetransmit)
        return behaviour
    }
}

extension WriteFormat: ExpressibleByArgument {}

/// What --ack-timeout and --max-retransmit say; nil leaves it to libcoap.
func retransmission(after timeout: Double?, limit: UInt16) throws -> (milliseconds: Int, limit: UInt16)? {
    guard let timeout else { return nil }
    guard 0.05...3600 ~= timeout else {
        throw ArgumentProblem(description: "--ack-timeout takes 0.05 to 3600 seconds")
    }
    return (Int(timeout * 1000), limit)
}

/// The response code that `text` names.
func code(_ text: String) throws -> Code {
    guard let code = Code(text) else { throw ArgumentProblem(description: "'\(text)' is not a code: write it as 4.03") }
    return code
}
