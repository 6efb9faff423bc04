// SPDX-License-Identifier: Apache-2.0
// The protocol between programs and the proxy on the local socket (net/local_channel.h). A request is one line, a
// path with named parameters; a response is one line of outcome and then its body, as it is to be printed:
//
//   sluice/1 /status?form=wide
//   sluice/1 ok 0 0.1.0
//
// The first word names the protocol. A new path or parameter does not change it: a proxy that has none such reports
// it. Program and proxy may be of different versions, as between an upgrade of the package and the proxy's restart, so
// each reports clearly when it does not understand the other.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::view {

struct Request {
  std::string path;  // "/status"
  std::map<std::string, std::string> parameters;
  friend bool operator==(const Request&, const Request&) = default;
};
std::string encode(const Request& request);  // without the line's end
// kUnsupported for another protocol's line, kInvalid for one that cannot be read.
Result<Request> decode_request(std::string_view line);

struct Response {
  bool refused = false;  // the request was not carried out; the body has the reason, in one line
  int exit_status = 0;   // of the program that asked, 0 to 9
  std::string body;
  friend bool operator==(const Response&, const Response&) = default;
};
std::string encode(const Response& response);
// Of a program that could not find out what it was called for.
inline constexpr int kUnknownExitStatus = 2;
// kUnsupported for the response of a proxy with another protocol.
Result<Response> decode_response(std::string_view text);

}  // namespace sluice::view
