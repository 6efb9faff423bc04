// SPDX-License-Identifier: Apache-2.0
// Maps a request's line to the function that handles it. Unknown requests are refused by name, never
// ignored: a program newer than the proxy would misread the response.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "view/request.h"

namespace sluice::view {

class Router {
 public:
  // Called once, at any time and from any thread.
  using Reply = std::function<void(Response)>;
  using Handler = std::function<void(const Request& request, Reply reply)>;
  struct Parameter {
    std::string name;
    std::vector<std::string> values;  // those that are allowed; empty = any
  };

  void add(std::string path, std::vector<Parameter> parameters, Handler handler);
  // `reply` gets the encoded response.
  void route(const std::string& line, std::function<void(std::string)> reply) const;

 private:
  struct Entry {
    std::vector<Parameter> parameters;
    Handler handler;
  };
  [[nodiscard]] Result<> check(const Request& request) const;
  std::map<std::string, Entry> entries_;
};

}  // namespace sluice::view
