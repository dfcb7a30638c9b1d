import struct,zipfile,hashlib,json
z=zipfile.ZipFile('/tmp/moon/moonshine_voice-0.1.0-py3-none-manylinux_2_34_x86_64.whl')
b=z.read('moonshine_voice/libmoonshine.so')
shoff,=struct.unpack_from('<Q',b,0x28); shentsize,shnum,shstr=struct.unpack_from('<HHH',b,0x3A)
secs=[struct.unpack_from('<IIQQQQIIQQ',b,shoff+i*shentsize) for i in range(shnum)]
dyn=next(s for s in secs if s[1]==11); strs=secs[dyn[6]]
out={}
def off(v):
    for s in secs:
        if s[3]<=v<s[3]+s[5] and s[1]!=8: return s[4]+v-s[3]
for i in range(dyn[5]//24):
    n,info,oth,shndx,val,size=struct.unpack_from('<IBBHQQ',b,dyn[4]+i*24)
    e=b.index(b'\0',strs[4]+n); name=b[strs[4]+n:e].decode()
    if 'embedded_community1' in name:
        d=b[off(val):off(val)+size]; short=name.split('embedded_community1')[1]
        out[name]=(size,hashlib.sha256(d).hexdigest(),d[:12]); open('/tmp/moon/'+short.strip('0123456789').rstrip('E'),'wb').write(d)
for k,v in out.items(): print(k,v)
