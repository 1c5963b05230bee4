import { once } from 'node:events'
import WebSocket from 'ws'

const [url, key, token, short] = process.argv.slice(2)
const connect = (token) =>
  new WebSocket(url, { headers: { 'X-App-Key': key, Authorization: `Bearer ${token}` } })
const echo = async (socket, message) => {
  socket.send(message)
  const [data] = await once(socket, 'message')
  return data
}

const socket = connect(token)
await once(socket, 'open')
console.log('text', (await echo(socket, 'Grüße')).toString() === 'Grüße')
const large = Buffer.alloc(1 << 20, 'large')
console.log('large', large.equals(await echo(socket, large)))
for (const piece of ['in ', 'three ']) socket.send(piece, { fin: false })
console.log('pieces', (await echo(socket, 'pieces')).toString())
socket.ping('there?')
await once(socket, 'pong')
console.log('pong')
socket.close(1000, 'enough')
const [code] = await once(socket, 'close')
console.log('closed', code)

const refused = connect(`${token}x`)
const [, answer] = await once(refused, 'unexpected-response')
console.log('refused', answer.statusCode)
answer.destroy()

const cut = connect(short)
await once(cut, 'open')
console.log((await echo(cut, 'still here')).toString())
cut.on('error', () => {})
const [end] = await once(cut, 'close')
console.log('cut', end)
