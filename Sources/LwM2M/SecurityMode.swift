/// Resource 2 of a Security object: how the server is spoken to.
package enum SecurityMode: UInt8, Sendable, CaseIterable {
    case preSharedKey = 0
    case rawPublicKey = 1
    case certificate = 2
    case noSec = 3
    case certificateWithEST = 4

    /// As logs, the audit journal and the demo name it.
    package var name: String {
        switch self {
        case .preSharedKey: "PSK"
        case .rawPublicKey: "RPK"
        case .certificate: "X.509"
        case .noSec: "NoSec"
        case .certificateWithEST: "EST"
        }
    }

    /// `coaps` goes with every mode but NoSec, and `coap` with NoSec alone (spec 2.4).
    package func fits(_ scheme: ServerURI.Scheme) -> Bool { (scheme == .coaps) == (self != .noSec) }
}
