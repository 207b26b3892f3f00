internal import Foundation
internal import Gateway
internal import Publishing
internal import Records
internal import Secrets

extension ConfigurationReader {
    /// `publish`: how a server that terminates DTLS itself is told of keys.
    func publication(_ node: ConfigurationNode) -> BootgateConfiguration.Publication? {
        let example = "{ leshan: \"http://HOST:PORT\" } or { webhook: \"https://HOST/PATH\", token: { env: NAME } }"
        guard let fields = node.mapping(example) else { return nil }
        let leshanNode = fields.node("leshan")
        let webhookNode = fields.node("webhook")
        let formatNode = fields.node("leshan-format")
        let format = formatNode.flatMap { $0.integer(1...2) }
        let token = fields.read("token", self.secret)
        let certificateNode = fields.node("certificate")
        let certificate = certificateNode.flatMap { $0.filePath() }
        let keyNode = fields.node("key")
        let key = keyNode.flatMap(self.secret)
        let trustRoots = fields.read("ca") { $0.filePath() }
        let timeout = fields.read("timeout") { $0.duration(atLeast: .milliseconds(100)) } ?? .seconds(5)
        let keysNode = fields.node("keys-per-endpoint")
        let keys = keysNode.flatMap { $0.choice(GatewayConfiguration.KeysPerEndpoint.self) }
        fields.finish()

        if (certificateNode == nil) != (keyNode == nil) {
            node.mistake("\(node.path) has only one of certificate and key; mutual TLS needs both")
        }
        let form: PublicationTarget.Form
        let urlNode: ConfigurationNode
        switch (leshanNode, webhookNode) {
        case (let leshan?, nil):
            form = .leshan(format == 1 ? .psk : .tls)
            urlNode = leshan
            if keys == .many {
                keysNode?.mistake("\(node.path).keys-per-endpoint: Leshan holds one key for each endpoint; write 1")
            }
        case (nil, let webhook?):
            form = .webhook
            urlNode = webhook
            formatNode?.mistake("\(node.path).leshan-format goes with leshan only; leave it out")
        default:
            node.mistake("\(node.path): expected one of leshan and webhook, \(example)")
            return nil
        }
        guard let url = self.publicationURL(urlNode), keysNode == nil || keys != nil else { return nil }
        return BootgateConfiguration.Publication(
            form: form, url: url, token: token, certificate: certificate, key: key, trustRoots: trustRoots,
            timeout: timeout, keys: keys ?? .one
        )
    }

    /// `http://` or `https://`, with a host and without user, query and fragment.
    private func publicationURL(_ node: ConfigurationNode) -> String? {
        let expected = "an address such as http://10.1.0.30:8080 or https://lwm2m.example.net"
        guard let text = node.text(expected) else { return nil }
        guard let url = URLComponents(string: text), let scheme = url.scheme?.lowercased(),
            ["http", "https"].contains(scheme), let host = url.host, !host.isEmpty, url.user == nil,
            url.password == nil, url.query == nil, url.fragment == nil,
            url.port.map({ (1...65535).contains($0) }) ?? true
        else {
            node.mistake("\(node.path) is no address to publish to; expected \(expected)")
            return nil
        }
        let address = IPAddress(host.trimmingCharacters(in: ["[", "]"]))
        if scheme == "http", address?.isLoopback != true, host.lowercased() != "localhost" {
            node.warning("\(node.path) sends keys in clear; use https, or a network that nobody else is in")
        }
        return text
    }
}

/// What is read of `publish`, by server. Used by one reading, on one thread.
final class PublicationCollector {
    private(set) var all: [String: BootgateConfiguration.Publication] = [:]

    func add(_ publication: BootgateConfiguration.Publication, for server: String) { self.all[server] = publication }
}

extension BootgateConfiguration {
    /// Reads tokens, certificates and keys.
    func publisher() throws -> HTTPPublisher? {
        guard !self.publications.isEmpty else { return nil }
        var targets: [String: PublicationTarget] = [:]
        for (name, publication) in self.publications {
            var target = PublicationTarget(
                form: publication.form, url: publication.url, trustRoots: publication.trustRoots,
                timeout: publication.timeout
            )
            target.token = try publication.token?.readText(purpose: "token for servers.\(name).publish")
            if let certificate = publication.certificate, let key = publication.key {
                target.identity = .init(
                    certificates: certificate,
                    key: try key.readText(purpose: "key for servers.\(name).publish")
                )
            }
            targets[name] = target
        }
        return try HTTPPublisher(targets)
    }
}
