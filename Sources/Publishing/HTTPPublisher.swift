internal import AsyncHTTPClient
package import Gateway
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
package import Secrets

/// Tells servers of keys over HTTP, on a thread of its own: nothing here touches the data path.
///
/// To be closed with ``close()``.
package final class HTTPPublisher: CredentialPublisher {
    /// One thread for all of the process, as long as it runs: a request that comes late finds a client that is closed, not
    /// a loop that is gone.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let places: [String: Place]

    private struct Place: Sendable {
        let target: PublicationTarget
        let client: HTTPClient
    }

    /// `targets` by the name of the server in the configuration. Reads certificates and keys; throws when one of them
    /// cannot be used.
    package init(_ targets: [String: PublicationTarget]) throws(PublicationSetupError) {
        // All of them first: nothing is opened that would have to be closed again.
        var configurations: [String: HTTPClient.Configuration] = [:]
        for (name, target) in targets { configurations[name] = try Self.configuration(of: target, server: name) }
        self.places = targets.reduce(into: [:]) { places, entry in
            guard let configuration = configurations[entry.key] else { return }
            let client = HTTPClient(eventLoopGroupProvider: .shared(Self.group), configuration: configuration)
            places[entry.key] = Place(target: entry.value, client: client)
        }
    }

    /// Ends what is under way.
    package func close() async {
        for place in self.places.values { try? await place.client.shutdown() }
    }

    package func publish(_ credential: OneTimeCredential) async throws(PublicationFailure) {
        let place = try self.place(of: credential.server)
        try await Self.send(.publish(credential, to: place.target), to: place)
    }

    package func withdraw(
        endpoint: String, identity: PSKIdentity?, from server: String
    ) async throws(PublicationFailure) {
        let place = try self.place(of: server)
        try await Self.send(
            .withdraw(endpoint: endpoint, identity: identity, from: server, at: place.target), to: place
        )
    }

    private func place(of server: String) throws(PublicationFailure) -> Place {
        guard let place = self.places[server] else {
            throw PublicationFailure(.unconfigured, "'\(server)' has no publish in the configuration")
        }
        return place
    }

    private static func send(_ request: PublicationRequest, to place: Place) async throws(PublicationFailure) {
        var message = HTTPClientRequest(url: request.url)
        message.method = HTTPMethod(rawValue: request.method.rawValue)
        if !request.body.isEmpty {
            message.headers.add(name: "Content-Type", value: "application/json")
            message.body = .bytes(ByteBuffer(bytes: request.body))
        }
        if let token = place.target.token {
            let text = token.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            message.headers.add(name: "Authorization", value: "Bearer \(text)")
        }
        let status: UInt
        let deadline = NIODeadline.now() + .nanoseconds(place.target.timeout.nanoseconds)
        do {
            let response = try await place.client.execute(message, deadline: deadline)
            status = response.status.code
            await Self.drain(response.body, until: deadline)
        } catch {
            throw Self.failure(error)
        }
        guard request.isDone(status) else { throw PublicationFailure(.refused, "status \(status)") }
    }

    /// Bytes of an answer that are read.
    private static let longestAnswer = 1 << 16

    /// Reads an answer to its end, so that the connection can be used again. What it says is of no interest, and may
    /// repeat the key: one that is too long, or does not end in time, costs its connection and nothing else.
    ///
    /// The client itself watches the time until the status alone.
    private static func drain(_ body: HTTPClientResponse.Body, until deadline: NIODeadline) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = try? await body.collect(upTo: Self.longestAnswer) }
            group.addTask { try? await Task.sleep(for: .nanoseconds((deadline - .now()).nanoseconds)) }
            await group.next()
            group.cancelAll()
        }
    }

    private static func failure(_ error: any Error) -> PublicationFailure {
        switch error as? HTTPClientError {
        case .deadlineExceeded?, .readTimeout?, .writeTimeout?:
            PublicationFailure(.silent, "no answer in time")
        case .connectTimeout?, .tlsHandshakeTimeout?: PublicationFailure(.unreachable, "cannot connect in time")
        case .cancelled?, .alreadyShutdown?: PublicationFailure(.unreachable, "the gateway is stopping")
        case let error?: PublicationFailure(.unreachable, error.shortDescription)
        case nil where error is CancellationError: PublicationFailure(.unreachable, "the gateway is stopping")
        case nil: PublicationFailure(.unreachable, Self.shown("\(error)"))
        }
    }

    /// An error of the transport: host, port and what the system or TLS said.
    private static func shown(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.prefix(200).map { $0.value < 0x20 ? " " : $0 }))
    }

    // MARK: - Set-up

    private static func configuration(
        of target: PublicationTarget, server: String
    ) throws(PublicationSetupError) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        do {
            if let path = target.trustRoots { tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path)) }
            if let identity = target.identity {
                tls.certificateChain = try NIOSSLCertificate.fromPEMFile(identity.certificates).map { .certificate($0) }
                let key = try identity.key.withUnsafeBytes { try NIOSSLPrivateKey(bytes: Array($0), format: .pem) }
                tls.privateKey = .privateKey(key)
            }
            _ = try NIOSSLContext(configuration: tls)
        } catch {
            throw PublicationSetupError(server: server, reason: Self.shown("\(error)"))
        }
        let timeout = TimeAmount.nanoseconds(target.timeout.nanoseconds)
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls,
            // A key goes where the operator said, and nowhere else.
            redirectConfiguration: .disallow,
            timeout: .init(connect: timeout, read: timeout)
        )
        configuration.httpVersion = .http1Only
        // What failed is told at once: the bootstrap fails closed, and the list of publications tries again by itself.
        configuration.connectionPool.retryConnectionEstablishment = false
        return configuration
    }
}

/// The certificates or keys for a server cannot be used.
package struct PublicationSetupError: Error, Sendable, CustomStringConvertible {
    package let server: String
    let reason: String

    package var description: String {
        "servers.\(self.server).publish: certificate, key or ca cannot be used (\(self.reason)); "
            + "each is to be a PEM file, and the key that of the certificate"
    }
}

extension Duration {
    /// Nanoseconds, an hour at most.
    fileprivate var nanoseconds: Int64 {
        let limited = min(max(self, .zero), .seconds(3600))
        return limited.components.seconds * 1_000_000_000 + limited.components.attoseconds / 1_000_000_000
    }
}
