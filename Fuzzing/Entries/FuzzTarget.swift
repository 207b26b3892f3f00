internal import LwM2M

/// One of the readers of what strangers send. The fuzzer runs it on its inputs, and a test on the inputs that are kept.
package enum FuzzTarget: String, CaseIterable, Sendable {
    // What anybody on the network reaches.
    case coap, blocks, hello, rewriter
    // What a bootstrap server or a device reaches that has proved a key, or that the operator has named.
    case tlv
    case senMLJSON = "senml-json"
    case senMLCBOR = "senml-cbor"
    case lwm2mCBOR = "lwm2m-cbor"
    case omaJSON = "oma-json"
    case singleValue = "single-value"
    case linkFormat = "link-format"

    /// Runs the target on one input.
    ///
    /// - Throws: when a rule does not hold. A trap, or a wrong access to memory, ends the process instead.
    package func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        switch self {
        case .coap: try MessageLayerEntry.run(input)
        case .blocks: try BlocksEntry.run(input)
        case .hello: try HelloEntry.run(input)
        case .rewriter: try RewriterEntry.run(input)
        case .tlv: try PayloadEntry.run(input, .tlv)
        case .senMLJSON: try PayloadEntry.run(input, .senMLJSON)
        case .senMLCBOR: try PayloadEntry.run(input, .senMLCBOR)
        case .lwm2mCBOR: try PayloadEntry.run(input, .lwm2mCBOR)
        case .omaJSON: try PayloadEntry.run(input, .json)
        case .singleValue: try PayloadEntry.runSingleValue(input)
        case .linkFormat: try LinkFormatEntry.run(input)
        }
    }
}

/// A rule that did not hold.
package struct Finding: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }

    /// Throws unless the rule holds.
    static func check(_ holds: Bool, _ rule: @autoclosure () -> String) throws(Finding) {
        if !holds { throw Finding(rule()) }
    }
}
