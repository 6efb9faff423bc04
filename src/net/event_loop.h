// SPDX-License-Identifier: Apache-2.0
// The event loop: one Boost.Asio io_context run by one thread. API watches, file watches, HTTP servers and their timers
// live on it; nothing on it may block. Only net and the .cc files that do I/O include Asio itself.
#pragma once

#include <boost/asio/io_context.hpp>

namespace sluice::net {

using EventLoop = boost::asio::io_context;

}  // namespace sluice::net
