import bootgate

/// The smallest configuration that has no mistake and no warning.
let minimalConfiguration = """
    listeners: ["coaps://127.0.0.1:0"]
    bootstrap:
      upstreams: ["coap://10.1.0.10:5683"]
      account: { secure: "coaps://edge.example.net:5684" }
    servers:
      meters:
        match: { ssid: 1111 }
        device: { secure: "coaps://edge.example.net:5684" }
        relay: { to: "coap://10.1.0.20:5683" }

    """

/// Everything that the reader says about `text`, in the form of the command.
func complaints(_ text: String, folder: String = "/etc/bootgate") -> [String] {
    ConfigurationReader.read(text, folder: folder).diagnostics.map { $0.line(file: "f.yaml") }
}
